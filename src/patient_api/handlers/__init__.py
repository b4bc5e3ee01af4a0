"""Entry points of the four Lambda functions."""
