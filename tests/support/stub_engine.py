"""A container engine that is a shell script: things are files in a folder, and every call is a line of its log.

`run NAME` makes a thing; `rm NAME` removes it, and fails as docker does if there is none. A file `hang` in its folder
lets `rm` wait for ever, one called `broken` lets it fail.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

_SCRIPT = """#!/bin/sh
cd "{folder}" || exit 125
case $1 in
run) : > "things/$2" && echo "run $2" >> calls ;;
rm)
    [ -e hang ] && {{ echo "hang $2" >> calls; exec sleep 1000; }}
    [ -e broken ] && {{ echo "broken $2" >> calls; echo "the daemon does not answer" >&2; exit 7; }}
    if rm "things/$2" 2>/dev/null; then
        echo "rm $2" >> calls
    else
        echo "absent $2" >> calls
        echo "Error: No such container: $2" >&2
        exit 1
    fi ;;
esac
"""


class StubEngine:
    """The engine of one test, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "things").mkdir(parents=True)
        self.path = folder / "engine"
        self.path.write_text(_SCRIPT.format(folder=folder))
        self.path.chmod(0o755)

    @property
    def things(self) -> list[str]:
        """What there is now."""
        return sorted(os.listdir(self._folder / "things"))

    @property
    def calls(self) -> Counter[str]:
        """What was called, as `run NAME`, and how often. `rm NAME` are those that have removed something."""
        path = self._folder / "calls"
        return Counter(path.read_text().splitlines() if path.exists() else [])

    def made(self) -> list[str]:
        """The names of everything that was made."""
        return sorted(name for call in self.calls for verb, name in [call.split()] if verb == "run")

    def removals(self) -> dict[str, int]:
        """How often each thing that was made has been removed."""
        return {name: self.calls[f"rm {name}"] for name in self.made()}

    def set(self, mode: str, *, on: bool = True) -> None:
        """Let `rm` hang, or be broken, or not."""
        file = self._folder / mode
        file.touch() if on else file.unlink()
