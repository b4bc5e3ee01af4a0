"""Documents that describe the API to its clients."""
