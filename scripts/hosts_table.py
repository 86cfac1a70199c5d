"""Write what the tests of tests/hosts saw into the docs: `scripts/hosts_table`, after those tests have passed.

A page has a place for it, `<!-- hosts: NAME -->` to `<!-- hosts: end -->`; NAME is the host's in the file that the
tests wrote (tests/hosts/seen.py says where that is).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.hosts.seen import place  # noqa: E402 - this script may run from anywhere

PLACE = re.compile(r"(<!-- hosts: (?!end)(\S+) -->\n).*?(<!-- hosts: end -->)", re.DOTALL)


def table(host: Mapping[str, Any]) -> str:
    """Return the table of a host: its versions in a sentence, then a row for each thing that was done."""
    versions = ", ".join(f"{name} {version}" for name, version in host["versions"].items())
    lines = [f"Seen on: {versions}.", "", "| what was done | what was seen |", "|---|---|"]
    lines += [f"| {_cell(done)} | {_cell(saw)} |" for done, saw in host["rows"]]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    """Renew the tables of all pages."""
    try:
        hosts = json.loads(place().read_text())
    except OSError:
        sys.exit(f"there is no {place()}: run the tests of tests/hosts first")
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text()
        new = PLACE.sub(lambda m: m[1] + (table(hosts[m[2]]) if m[2] in hosts else "") + m[3], text)
        if new != text:
            page.write_text(new)
            print(f"renewed {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
