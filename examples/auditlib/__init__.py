"""The parts of examples/audit.py: what it looks for in a file, and how the results of all files become a report.

The stages know nothing of runs, processes and interrupts but one callable, `checkpoint`, which they call often. In
an executor it raises when the task is to stop; in a test it does nothing.
"""
