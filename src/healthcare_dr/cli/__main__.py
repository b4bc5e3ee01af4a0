"""Run the `hdr` command as `python -m healthcare_dr.cli`."""

from healthcare_dr.startup import main

if __name__ == "__main__":
    main()
