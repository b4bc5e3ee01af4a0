"""The data plane of Route 53: health checkers and DNS."""
