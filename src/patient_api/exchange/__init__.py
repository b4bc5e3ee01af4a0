"""What comes in and goes out: calls and their callers, who may do what and the record of it, bodies, pages."""
