"""The deployment targets: AWS and the embedded AWS."""
