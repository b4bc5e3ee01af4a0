"""Where the platform is deployed to: AWS, or the embedded AWS."""
