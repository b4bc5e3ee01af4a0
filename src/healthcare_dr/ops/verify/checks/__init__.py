"""The checks by topic. Each module of this package is imported by the catalog, in alphabetical order."""
