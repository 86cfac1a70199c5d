"""Groups of child executions, retries and circuit breakers."""
