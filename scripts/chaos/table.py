"""Many rounds as a table."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field

from tests.support.chaos.round import Report


@dataclass
class Table:
    """Sums over rounds, by kind of fault."""

    rounds: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    twice: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    ends: dict[str, list[float]] = field(default_factory=dict)
    total: Counter[str] = field(default_factory=Counter)
    all_ends: list[float] = field(default_factory=list)

    def add(self, report: Report) -> None:
        """One more round. What it lost is charged to every kind of fault that it had: its seed tells which it was."""
        if report.cannot:
            self.total.update(skipped=1)
            return
        self.total.update(rounds=1, faults=report.faults.total())
        self.total.update(lost=len(report.lost), twice=len(report.twice), left=len(report.left))
        self.total.update(failed=bool(report.problems))
        self.all_ends += report.ends
        for kind, count in report.faults.items():
            self.rounds[kind] += 1
            self.faults[kind] += count
            self.lost[kind] += len(report.lost)
            self.twice[kind] += len(report.twice)
            self.left[kind] += len(report.left)
            self.ends.setdefault(kind, []).extend(report.ends)

    def __str__(self) -> str:
        head = f"{'fault':24} {_row('injected', 'rounds', 'lost', 'twice', 'left')} {'median s':>9} {'max s':>6}"
        lines = [head, "-" * len(head)]
        for kind in sorted(self.faults):
            counts = _row(self.faults[kind], self.rounds[kind], self.lost[kind], self.twice[kind], self.left[kind])
            lines.append(f"{kind:24} {counts} {_seconds(self.ends[kind])}")
        total = self.total
        counts = _row(total["faults"], total["rounds"], total["lost"], total["twice"], total["left"])
        lines += ["-" * len(head), f"{'all':24} {counts} {_seconds(self.all_ends)}"]
        return "\n".join(lines)


def _row(*columns: object) -> str:
    return " ".join(f"{column!s:>{width}}" for column, width in zip(columns, (8, 7, 5, 6, 5), strict=True))


def _seconds(values: list[float]) -> str:
    return f"{statistics.median(values):9.2f} {max(values):6.2f}" if values else f"{'-':>9} {'-':>6}"
