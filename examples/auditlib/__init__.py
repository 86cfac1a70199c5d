"""The analysis behind examples/audit.py: pure functions from source text to JSON-able facts and findings.

Nothing in here knows of runs, processes or interrupts but for one callable, `look`, which every stage calls
often: it is the agent's checkpoint, and in a test it does nothing.
"""
