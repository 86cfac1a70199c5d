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


@dataclass(frozen=True)
class Goal:
    """What a row is to reach: at most (or at least) `limit` times the row `base`, and `plus` more.

    `base`: empty for the table's yardstick, None where `limit` stands for itself.
    """

    what: str
    aim: str
    row: str
    limit: float
    at_most: bool = True
    base: str | None = ""
    plus: float = 0.0


@dataclass
class Table:
    """One budget: its rows in one unit, and what a ratio above 1 means."""

    title: str
    unit: str
    budget: str
    rows: list[Row] = field(default_factory=list)
    yardstick: str = ""
    goals: list[Goal] = field(default_factory=list)

    def verdict(self, goal: Goal) -> tuple[str, str, str, str]:
        """Return what was aimed at, the aim, what was measured, and whether that keeps it."""
        value, name = self.value(goal.row), self.yardstick if goal.base == "" else goal.base
        base = 1.0 if name is None else self.value(name)
        if value is None or not base:
            return goal.what, goal.aim, "-", "not measured"
        bound = goal.limit * base + goal.plus
        is_kept = value <= bound if goal.at_most else value >= bound
        measured = f"{value:,.4g} {self.unit}"
        if name is not None and goal.plus:
            measured = f"{value - base:+,.3g} {self.unit} ({name})"
        elif name is not None:
            measured = f"{value / base:.2f} x {name}"
        return goal.what, goal.aim, measured, "kept" if is_kept else "missed"

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


def summary(tables: Sequence[Table]) -> str:
    """Return the goals of all tables as one table: each with its aim, what was measured, kept or missed."""
    head = ("what", "aim", "measured", "")
    lines = [head, *(table.verdict(goal) for table in tables for goal in table.goals)]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    texts = ["  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([texts[0], "-" * (sum(widths) + 6), *texts[1:]])


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def best(table: Table, names: Sequence[str], *, highest: bool) -> str:
    """Return the name of the best row, or an empty string when none has a value."""
    found = [(row.value, row.name) for row in table.rows if row.name in names and row.value is not None]
    return (max(found) if highest else min(found))[1] if found else ""
