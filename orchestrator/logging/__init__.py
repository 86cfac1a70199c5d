"""Where log lines and other output go, and how they get there without a wait."""
