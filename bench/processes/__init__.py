"""What is measured in a fresh process: each module is one, and prints its result as the last line."""
