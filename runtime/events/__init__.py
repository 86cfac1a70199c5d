"""The event bus of a process, its queues and its subscribers."""
