"""Medical documents: acknowledged twice, readable from either region."""
