"""systemd: notifications, and unit files."""
