"""The command line of quiesce: each group of commands is a module, and `command_line` has them all.

`main`, `build` and `app` are those of `command_line`. They are loaded when they are first used, so that a command that
is parsed without typer (`quick_command`) loads its own module alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.cli.command_line import app as app
    from orchestrator.cli.command_line import build as build
    from orchestrator.cli.command_line import main as main


def __getattr__(name: str) -> Any:
    """Load one of the three names when it is first used (PEP 562)."""
    if name not in ("app", "build", "main"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("orchestrator.cli.command_line"), name)
