"""Integrate with systemd: notifications, stop timeouts and unit files."""
