"""What the supervisor, the guardian and the executors exchange: records, frames, values, the interrupt flag."""
