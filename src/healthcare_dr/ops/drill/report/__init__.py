"""The report of a drill: one page that explains itself, needs no network, and runs no script."""
