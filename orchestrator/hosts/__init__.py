"""Where a supervisor lives: systemd, containers and Kubernetes, PID 1, and what each of them wants to know."""
