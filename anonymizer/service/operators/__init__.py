"""What operators see and start in the admin."""
