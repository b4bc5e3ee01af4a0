"""Terraform as a tool: found or fetched, run, listened to, interrupted."""
