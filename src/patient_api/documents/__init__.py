"""Documents: a client declares and uploads them, both regions verify their bytes, and clients read them from either."""
