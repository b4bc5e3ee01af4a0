"""The services process: ministack with the patches of this project."""
