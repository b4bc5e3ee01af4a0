"""What an availability allows, and what measured recoveries use of it."""
