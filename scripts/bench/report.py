"""What a benchmark prints: one table a budget, the budget in its title, each line beside the yardstick."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One contender's line. `value` is a median (None: it has none); `note` says why, or adds to it."""

    name: str
    value: float | None
    note: str = ""


@dataclass
class Table:
    """One budget: its rows in one unit, and what a ratio above 1 means."""

    title: str
    unit: str
    budget: str
    rows: list[Row] = field(default_factory=list)
    yardstick: str = ""

    def add(self, name: str, values: Sequence[float], note: str = "") -> None:
        """Return a row with the median of several rounds, and their spread."""
        if not values:
            self.rows.append(Row(name, None, note or "no result"))
            return
        spread = f"{min(values):,.4g} to {max(values):,.4g}" if len(values) > 1 else ""
        self.rows.append(Row(name, statistics.median(values), "; ".join(filter(None, [spread, note]))))

    def value(self, name: str) -> float | None:
        """Return the median of a row."""
        return next((row.value for row in self.rows if row.name == name), None)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)

    def __str__(self) -> str:
        base = self.value(self.yardstick) if self.yardstick else None
        width = max([len(row.name) for row in self.rows], default=10)
        lines = [self.title, f"  budget: {self.budget}"]
        for row in self.rows:
            value = f"{row.value:12,.4g} {self.unit}" if row.value is not None else f"{'-':>12} {self.unit}"
            ratio = f"{row.value / base:8.2f} x {self.yardstick}" if row.value is not None and base else ""
            lines.append(f"  {row.name:{width}} {value}  {ratio}  {row.note}".rstrip())
        return "\n".join(lines)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def best(table: Table, names: Sequence[str], *, highest: bool) -> str:
    """Return the name of the best row, or an empty string when none has a value."""
    found = [(row.value, row.name) for row in table.rows if row.name in names and row.value is not None]
    return (max(found) if highest else min(found))[1] if found else ""
