"""Agents that the process tests run; loaded by path, each in a real executor."""
