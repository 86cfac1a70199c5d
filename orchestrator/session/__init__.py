"""The parts of RunSession: the agents of a run, and the last that is written of it."""
