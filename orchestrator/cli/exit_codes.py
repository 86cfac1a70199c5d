"""Exit codes of commands. docs/commands.md has them all."""

from __future__ import annotations

from typing import Final

FAILED: Final = 1
USAGE: Final = 2
RESUMABLE: Final = 75
"""EX_TEMPFAIL (sysexits.h): try again later, with `quiesce resume`."""
