"""The state of a region: health, heartbeat and drain flag."""
