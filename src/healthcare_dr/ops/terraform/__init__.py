"""Find, run and interrupt Terraform, and read its state."""
