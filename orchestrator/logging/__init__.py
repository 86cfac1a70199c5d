"""Write log lines and other output without making the supervisor wait."""
