"""Many rounds as a table."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field

from chaos.round import Report


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
        """One more round. What it lost is charged to every kind of fault that it had: which one it was, the seed tells."""
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
        head = f"{'fault':24} {'injected':>8} {'rounds':>7} {'lost':>5} {'twice':>6} {'left':>5} {'median s':>9} {'max s':>6}"
        lines = [head, "-" * len(head)]
        for kind in sorted(self.faults):
            counts = f"{self.faults[kind]:8} {self.rounds[kind]:7} {self.lost[kind]:5} {self.twice[kind]:6} {self.left[kind]:5}"
            lines.append(f"{kind:24} {counts} {_seconds(self.ends[kind])}")
        total = self.total
        counts = f"{total['faults']:8} {total['rounds']:7} {total['lost']:5} {total['twice']:6} {total['left']:5}"
        lines += ["-" * len(head), f"{'all':24} {counts} {_seconds(self.all_ends)}"]
        return "\n".join(lines)


def _seconds(values: list[float]) -> str:
    return f"{statistics.median(values):9.2f} {max(values):6.2f}" if values else f"{'-':>9} {'-':>6}"
