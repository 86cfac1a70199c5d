"""What the tests on hosts saw, written down for the tables in the docs (scripts/hosts_table renders them).

A row is kept when its test has passed. The file is in the cache, outside the checkout: a table in the docs is renewed
on purpose, not by every run of the tests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

Saw = Callable[[str, str], None]
"""`saw("systemctl stop in mid-run", "died by SIGTERM after 0.4 s, nothing left")`."""


def place() -> Path:
    """Where the rows are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.environ.get("QUIESCE_HOSTS_SEEN") or f"{cache}/quiesce/hosts-seen.json")


def write(host: str, versions: Mapping[str, str], rows: list[tuple[str, str]]) -> None:
    """Keep the rows of one host; those of others stay."""
    path = place()
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        known = {}
    known[host] = {"versions": dict(versions), "rows": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
