"""Integrate with Kubernetes: manifests and termination messages."""
