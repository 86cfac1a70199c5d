"""A folder for the control sockets of a test session: what tests kill leaves its socket behind."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from orchestrator.control.address import FOLDER_VARIABLE


def keep_control_sockets_apart() -> None:
    """Keep the sockets of runs that this session starts in a folder that goes with it. Its path is short (unix(7))."""
    if FOLDER_VARIABLE not in os.environ:
        folder = tempfile.mkdtemp(prefix="q-", dir="/tmp")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ[FOLDER_VARIABLE] = folder
