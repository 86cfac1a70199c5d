"""The caller's side of a run: its agents and inputs become tasks, and the outcomes of these come back to it."""
