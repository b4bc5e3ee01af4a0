"""What the tests of a deployed platform share; no tests are here."""
