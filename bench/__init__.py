"""How fast the platform is, each number as a ratio measured in one run. `make bench` runs all of it."""
