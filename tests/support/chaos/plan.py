"""A seed becomes a round. Pure: the same seed is the same plan, everywhere and for ever.

(What the plan cannot fix is how the machine's scheduler answers; a failing seed is run again a few times.)
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

SYNC_KINDS = (
    "cooperative", "busy", "stuck", "deaf", "swallowing", "child", "orphan", "daemon", "hidden", "crash", "exit",
    "allocate", "talk", "large", "snapshot", "snapshot", "garbage", "oversized", "replayed", "torn", "cut", "closed",
    "replaced", "fails",
)  # fmt: skip
ASYNC_KINDS = (
    "asleep", "asleep", "shielded", "parallel", "large", "snapshot", "fails", "busy", "crash", "daemon", "talk",
)  # fmt: skip
FORKLESS = ("cooperative", "busy", "deaf", "large", "snapshot", "fails", "swallowing")
"""Kinds that need no process and no descriptor: for rounds in which there are none to be had."""

ENDING = (
    "supervisor KILL", "supervisor KILL", "supervisor TERM", "supervisor TERM", "supervisor INT", "supervisor HUP",
    "group INT", "supervisor storm",
)  # fmt: skip
"""Faults that end the attempt."""

PASSING = (
    "supervisor STOP+CONT", "executor KILL", "executor TERM", "executor INT", "executor STOP+CONT", "executor storm",
    "guardian KILL", "guardian TERM", "guardian STOP+CONT", "guardian storm",
)  # fmt: skip
"""Faults that a run survives."""

LASTING = ("executor STOP", "guardian STOP")
"""Faults that stay until the run is ended from outside: an ending one always follows."""

THEMES = {
    "plain": 66, "unread": 6, "no cgroup": 6, "clock": 4, "disk full": 4, "slow disk": 4, "deleted": 2, "read-only": 2,
    "no descriptors": 3, "no processes": 3,
}  # fmt: skip
"""What the world is like, by weight in percent."""

EXTREMES = {
    "threads": 8, "holder": 4, "second run": 6, "blocked signals": 4, "job control": 6, "chatty": 6, "held guardian": 4,
    "locked journal": 3, "hung log": 4, "uninterruptible": 3, "truncated": 3, "runner": 4, "plain user": 5,
}  # fmt: skip
"""Worlds beyond those of THEMES, by weight; see `_extreme_of`."""

_EXTREME_SHARE = 0.4

MENUS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "threads": (("thread",), ("to thread", "pool")),
    "holder": (("stuck",), ()),
    "chatty": (("chatter",), ()),
    "uninterruptible": (("uninterruptible",), ()),
    "runner": (("runner",), ()),
}
"""Themes whose special tasks are of their own kinds, by sync and async agents."""

OPTIONS: dict[str, Sequence[str]] = {
    "threads": ("--timeout", "0.8", "--retries", "4"),
    "holder": ("--heartbeat-timeout", "0.5"),
}
"""Further options of `quiesce run`, by theme."""

OWN_FAULTS = {
    "second run": ("second run",),
    "job control": ("group TSTP+CONT", "supervisor TSTP+CONT"),
    "held guardian": ("guardian HOLD",),
    "locked journal": ("locked journal",),
    "truncated": ("truncated",),
}
"""Faults that only their theme has, by theme."""


@dataclass(frozen=True)
class Fault:
    """What is done, and when: seconds after the first task began, or (`early`) after the process was started."""

    kind: str
    at: float
    early: bool = False

    def __str__(self) -> str:
        return f"{self.kind} at {self.at:.2f}{' (early)' if self.early else ''}"


@dataclass(frozen=True)
class Plan:
    """One round."""

    seed: int
    theme: str = "plain"
    asynchronous: bool = False
    kinds: Sequence[str] = ()
    workers: int = 2
    concurrency: int = 1
    grace: float = 0.4
    term_grace: float = 0.2
    hold: float = 0.5
    attempts: Sequence[Sequence[Fault]] = field(default=((),))

    @property
    def options(self) -> Sequence[str]:
        """Return further options of `quiesce run`."""
        return OPTIONS.get(self.theme, ())

    def tasks(self, folder: str, proof: str) -> list[dict[str, Any]]:
        """Return the input lines."""
        return [
            {
                "key": f"t{n:03}", "n": n, "kind": kind, "seed": self.seed, "marks": f"{folder}/marks", "proof": proof,
                "hold": self.hold, **({"hung": f"{folder}/hung/hung"} if kind == "uninterruptible" else {}),
            }
            for n, kind in enumerate(self.kinds)
        ]  # fmt: skip

    def __str__(self) -> str:
        faults = " | ".join(", ".join(map(str, attempt)) or "none" for attempt in self.attempts)
        special = sorted({kind for kind in self.kinds if kind != "quick"})
        return (
            f"seed {self.seed}, {self.theme}, {'async' if self.asynchronous else 'sync'}, {len(self.kinds)} tasks of"
            f" {special}, {self.workers} workers x {self.concurrency}, grace {self.grace:g}+{self.term_grace:g},"
            f" faults: {faults}"
        )


def plan_of(seed: int, theme: str | None = None) -> Plan:
    """Return the round of a seed. Its first attempt always has a fault, sometimes its second has one too."""
    rng = random.Random(seed)
    drawn = rng.choices(list(THEMES), list(THEMES.values()))[0]
    theme = theme or _extreme_of(seed) or drawn
    asynchronous = theme in ("plain", "unread", "threads") and rng.random() < (0.7 if theme == "threads" else 0.25)
    kinds = _kinds(rng, theme, ASYNC_KINDS if asynchronous else SYNC_KINDS)
    attempts = [_faults(rng, theme)]
    if rng.random() < 0.3 and theme not in ("deleted", "truncated"):
        attempts.append(_faults(rng, "plain"))
    if theme in ("no cgroup", "plain user") and any(
        fault.kind == "guardian KILL" for attempt in attempts for fault in attempt
    ):
        # without a cgroup and without the subreaper, a process without a mark in its environment cannot be found
        kinds = ["daemon" if kind == "hidden" else kind for kind in kinds]
    return Plan(
        seed=seed,
        theme=theme,
        asynchronous=asynchronous,
        kinds=kinds,
        workers=rng.randint(1, 4),
        concurrency=rng.choice((4, 16)) if asynchronous else 1,
        grace=rng.choice((0.0, 0.2, 0.4, 0.6)),
        term_grace=rng.choice((0.0, 0.1, 0.3)),
        hold=1.2 if theme == "holder" else rng.choice((0.2, 0.5, 0.9)),  # longer than its --heartbeat-timeout
        attempts=attempts,
    )


def _extreme_of(seed: int) -> str | None:
    """Return one of EXTREMES for a share of the seeds. Drawn apart, so that the other seeds stay what they were."""
    rng = random.Random(f"extreme {seed}")
    return rng.choices(list(EXTREMES), list(EXTREMES.values()))[0] if rng.random() < _EXTREME_SHARE else None


def _kinds(rng: random.Random, theme: str, menu: Sequence[str]) -> list[str]:
    if theme in MENUS:
        return _special_kinds(rng, MENUS[theme][1 if menu is ASYNC_KINDS else 0])
    if theme in ("no descriptors", "no processes"):
        menu = FORKLESS
    kinds = ["quick"] * rng.randint(80, 240)
    hostile = rng.sample(menu, rng.randint(3, min(7, len(menu))))
    if theme == "plain" and "crash" in menu and rng.random() < 0.1:
        hostile.append("poison")
    for kind in hostile:
        kinds.insert(rng.randrange(len(kinds) // 2), kind)  # early enough to be met by the faults
    return kinds


def _special_kinds(rng: random.Random, menu: Sequence[str]) -> list[str]:
    """Many quick tasks and a few of one kind, early enough to be met by the faults."""
    kinds = ["quick"] * rng.randint(60, 120)
    for _ in range(rng.randint(2, 5)):
        kinds.insert(rng.randrange(len(kinds) // 2), rng.choice(menu))
    return kinds


def _faults(rng: random.Random, theme: str) -> list[Fault]:
    """In order of time; whatever lasts is followed by an end."""
    if theme in OWN_FAULTS:
        own = Fault(rng.choice(OWN_FAULTS[theme]), rng.uniform(0.0, 0.4))
        end = Fault(rng.choice(ENDING), own.at + rng.uniform(0.05, 0.8))
        return [own, end] if theme == "held guardian" or rng.random() < 0.7 else [own]
    if theme in ("holder", "uninterruptible"):
        return [Fault(rng.choice(ENDING), rng.uniform(0.1, 1.5))]
    if theme in ("disk full", "slow disk", "deleted", "read-only", "no descriptors", "no processes"):
        faults = [Fault(theme, rng.uniform(0.0, 0.4))]
        if theme in ("no descriptors", "no processes"):
            faults.append(Fault("executor KILL", faults[0].at + 0.05))
        if theme == "slow disk" and rng.random() < 0.5:
            faults.append(Fault(rng.choice(ENDING), faults[0].at + rng.uniform(0.0, 0.3)))
        return faults
    faults = [Fault(rng.choice(PASSING), rng.uniform(0.0, 0.7)) for _ in range(rng.choice((0, 0, 1, 1, 2)))]
    if theme == "clock":
        faults.append(Fault("clock jump", rng.uniform(0.0, 0.4)))
    chance = rng.random()
    if chance < 0.12:
        faults.append(Fault(rng.choice(LASTING), rng.uniform(0.0, 0.4)))
    if chance < 0.85 or not faults:
        end = Fault(rng.choice(ENDING), rng.uniform(0.0, 0.8))
        if rng.random() < 0.12:
            end = replace(end, at=rng.uniform(0.0, 1.2), early=True)
            faults = []
        faults.append(replace(end, at=max(end.at, *(fault.at + 0.01 for fault in faults))) if faults else end)
    return sorted(_not_both(faults), key=lambda fault: fault.at)


def _not_both(faults: list[Fault]) -> list[Fault]:
    """Return whether guardian *and* supervisor are killed within a moment: then no process is left to clean up."""
    if any(fault.kind == "guardian KILL" for fault in faults):
        return [replace(fault, kind=fault.kind.replace("supervisor KILL", "supervisor TERM")) for fault in faults]
    return faults
