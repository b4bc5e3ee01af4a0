"""`python -m healthcare_dr.cli`: the `hdr` command."""

from healthcare_dr.startup import main

if __name__ == "__main__":
    main()
