"""What Route 53 does besides its API: probe the health checks and answer DNS."""
