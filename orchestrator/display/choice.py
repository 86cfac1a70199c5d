"""Choose how a run is shown: live on a terminal that can show it, else by lines."""

from __future__ import annotations

import importlib
import os
import sys

from orchestrator.display.base import Display, PlainDisplay
from orchestrator.display.progress_mode import ProgressMode
from orchestrator.logging.sinks import LogCallback


def is_live(mode: ProgressMode) -> bool:
    """Return whether there is a live display: for `auto`, if standard error is a terminal that can show it."""
    if mode is ProgressMode.AUTO:
        return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return mode is ProgressMode.ON


def choose_display(
    mode: ProgressMode,
    title: str,
    log: LogCallback,
    interval: float,
    *,
    for_people: bool = True,
    logs_loading: bool = False,
) -> Display:
    """Return the display of a run. `log` gets the lines of one that is not live, every `interval` seconds."""
    if is_live(mode):  # imported only now: rich costs more than all else that a pipe needs
        live: Display = importlib.import_module("orchestrator.display.live").LiveDisplay(title)
        return live
    every = None if mode is ProgressMode.OFF else interval
    return PlainDisplay(log, every, for_people=for_people, logs_loading=logs_loading)
