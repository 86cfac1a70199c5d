"""Kubernetes: manifests and termination messages."""
