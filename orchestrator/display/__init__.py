"""Show people how far a run is: a live display on a terminal, lines elsewhere."""
