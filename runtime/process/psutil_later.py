"""psutil, imported when it is first used: `from runtime.process.psutil_later import psutil`.

Importing it takes as long as starting an interpreter, and no process needs it before executors work. The supervisor
uses it once the guardian starts; guardian and sentinel load it (`load`) before they are in need: a process that has no
descriptor left can import nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psutil
else:

    class _Psutil:
        """Give the attributes of psutil."""

        def __getattr__(self, name: str) -> Any:
            found = getattr(importlib.import_module("psutil"), name)
            setattr(self, name, found)  # a search among thousands of processes asks for it thousands of times
            return found

    psutil = _Psutil()

__all__ = ["load", "psutil"]


def load() -> None:
    """Import psutil now."""
    importlib.import_module("psutil")
