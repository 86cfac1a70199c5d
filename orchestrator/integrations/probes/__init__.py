"""Serve health and metrics over HTTP."""
