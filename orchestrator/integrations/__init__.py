"""Integrate a run with its host: systemd, Kubernetes, health probes, PID 1, and the host check."""
