"""A folder that a plain user can use, whatever becomes of the directories of pytest, which are root's alone."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def user_folder(uid: int) -> Iterator[Path]:
    """Make a folder of this user's in /tmp, and remove it at the end."""
    folder = tempfile.mkdtemp(prefix="qu-", dir="/tmp")
    try:
        os.chown(folder, uid, uid)
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
