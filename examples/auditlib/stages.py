"""The stages of an audit. Each takes a parsed file and a checkpoint, and returns facts and findings, fit for JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from auditlib import imports, mistakes, size
from auditlib.source import Checkpoint, Source

STAGES: dict[str, Callable[[Source, Checkpoint], dict[str, Any]]] = {
    "size": size.run,
    "imports": imports.run,
    "mistakes": mistakes.run,
}
