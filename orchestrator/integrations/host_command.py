"""Ask a program of the host for something that it knows, for a limited time."""

from __future__ import annotations

import os
import subprocess
from typing import Final

ASK_SECONDS: Final = 2.0
"""Seconds that one command may take."""


def ask_host(*command: str) -> str:
    """Return the output of a command; nothing if it fails or takes too long.

    It does not get the socket of a service manager, which is this process's alone.
    """
    environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=ASK_SECONDS,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""
