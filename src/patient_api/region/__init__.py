"""What a region says of itself: whether it is healthy, and whether it is to be drained."""
