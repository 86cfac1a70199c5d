"""Write the state diagrams of docs/architecture.md from the tables of orchestrator/core/transitions.py.

    python scripts/state_diagrams.py [--check]

With `--check` nothing is written; ends with 1 when the document differs from the tables.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from orchestrator.core.transitions import ASSIGNMENT_TABLE, INTAKE_TABLE, LOADING_TABLE, SLOT_TABLE

DOCUMENT: Final = Path(__file__).resolve().parent.parent / "docs" / "architecture.md"
BEGIN, END = "<!-- state diagrams: written by scripts/state_diagrams.py -->\n", "<!-- end of the state diagrams -->\n"

TABLES: Final[dict[str, Mapping[tuple[Any, Any], StrEnum]]] = {
    "The process of a slot": SLOT_TABLE,
    "What still goes to an executor": INTAKE_TABLE,
    "The agents that an executor was asked to load": LOADING_TABLE,
    "A task that an executor was sent": ASSIGNMENT_TABLE,
}


def diagram(table: Mapping[tuple[Any, Any], StrEnum]) -> str:
    """Return one table as a Mermaid diagram; it begins with the state that the table names first."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {next(iter(table))[0]}"]
    arrows: dict[tuple[str, str], list[str]] = {}
    for (state, event), after in table.items():
        arrows.setdefault((state, after), []).append(event)
    lines += [f"    {state} --> {after}: {', '.join(events)}" for (state, after), events in arrows.items()]
    return "\n".join([*lines, "```", ""])


def render() -> str:
    """Return all diagrams, each under its title."""
    return "\n".join(f"{title}:\n\n{diagram(table)}" for title, table in TABLES.items())


def main(arguments: list[str]) -> int:
    """Write the document, or compare it. Returns the exit code."""
    text = DOCUMENT.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    wanted = f"{head}{BEGIN}\n{render()}\n{END}{tail}"
    if "--check" not in arguments:
        DOCUMENT.write_text(wanted, encoding="utf-8")
    elif wanted != text:
        print(f"{DOCUMENT} differs from the tables: run python scripts/state_diagrams.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
