"""Check what this host offers, and what that means for a stop."""
