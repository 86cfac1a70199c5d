"""One execution as its agent sees it: its state, its events, its output."""
