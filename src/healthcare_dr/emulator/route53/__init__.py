"""Route 53 besides its API: probe the health checks and answer DNS queries."""
