"""From a signal to a checkpoint: the latch, shields, deadlines, waits that an interrupt ends, outside checkers."""
