"""Name the folder of a run's commands, beside its journal, and remove it."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from urllib.parse import quote


def run_folder(journal: str, run_id: str) -> str:
    """Return the folder for the snapshots, stop files and long output of a run's commands. `journal`: its location."""
    return os.path.join(_base(journal), quote(run_id, safe="").replace(".", "%2E"))


def remove_if_empty(journal: str, run_id: str) -> None:
    """Remove the folder unless it has snapshots, and the one of all runs unless it has others."""
    folder = run_folder(journal, run_id)
    for path in (os.path.join(folder, "snapshots"), folder, _base(journal)):
        with suppress(OSError):
            os.rmdir(path)


def remove(journal: str, run_id: str) -> None:
    """Remove the folder with all that is in it."""
    shutil.rmtree(run_folder(journal, run_id), ignore_errors=True)
    with suppress(OSError):
        os.rmdir(_base(journal))


def _base(journal: str) -> str:
    return f"{os.path.abspath(journal)}.commands"
