"""What runs inside the guardian process."""
