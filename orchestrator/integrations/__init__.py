"""What a host wants to know or to be told."""
