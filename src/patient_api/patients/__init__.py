"""Patient records: create, read, update, patch, delete, validate, and their history."""
