"""Check the settings of commands: exit codes, signals, loads, and when a run halts. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

_CODES: Final = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?")
_HALT: Final = re.compile(r"(now|soon),(fail|success|done)=(\d+(?:\.\d+)?)(%?)")
_LOAD: Final = re.compile(r"\d+(\.\d+)?%?")
_SIGNAL: Final = re.compile(r"[A-Z][A-Z0-9]*|\d{1,2}")
LEAST_PERCENT: Final = 3
"""A share counts from so many ended tasks on, as GNU parallel has it."""


def parse_codes(value: object) -> object:
    """Return exit codes from text like `0,1,64-78`, or from a list. Raises ValueError."""
    if value is None:
        return None
    if isinstance(value, list | tuple) and all(type(code) is int and 0 <= code <= 255 for code in value):
        return tuple(value)
    codes: set[int] = set()
    for part in str(value).split(","):
        found = _CODES.fullmatch(part.strip())
        if found is None or int(found[2] or found[1]) > 255 or int(found[1]) > int(found[2] or found[1]):
            raise ValueError(f"{part.strip()!r} is no exit code from 0 to 255, and no range of them like 64-78")
        codes.update(range(int(found[1]), int(found[2] or found[1]) + 1))
    return tuple(sorted(codes))


def parse_signal(value: object) -> object:
    """Return the name of a signal in capitals and without SIG; whether there is one depends on the host."""
    name = str(value).strip().upper().removeprefix("SIG")
    if not _SIGNAL.fullmatch(name):
        raise ValueError(f"{value!r} is not the name of a signal, like TERM or INT")
    return name


def parse_load(value: object) -> object:
    """Return a load, a number or a share of the processors like `90%`, as text. Raises ValueError."""
    if value is None:
        return None
    text = str(value).strip()
    if not _LOAD.fullmatch(text):
        raise ValueError(f"{text!r} is neither a number of processes nor a share of the processors like 90%")
    return text


def most_running(load: str, cpus: int) -> float:
    """Return the number of running processes that a load stands for. 0 stands for 0.01, as in GNU parallel."""
    number = float(load.removesuffix("%"))
    return (number * cpus / 100 if load.endswith("%") else number) or 0.01


class HaltCount(StrEnum):
    """What is counted."""

    FAIL = "fail"
    SUCCESS = "success"
    DONE = "done"


class Halt(msgspec.Struct, frozen=True):
    """When a run halts. `now`: running commands are stopped; else they are waited for."""

    now: bool
    count: HaltCount
    limit: float
    percent: bool

    def is_reached(self, completed: int, failed: int, total: int | None) -> bool:
        """Return whether so many tasks are enough. A share of successes is one of all tasks, as far as known."""
        counts = {HaltCount.FAIL: failed, HaltCount.SUCCESS: completed, HaltCount.DONE: completed + failed}
        number = counts[self.count]
        if not self.percent:
            return number >= self.limit
        ended = completed + failed
        of = ended if self.count is HaltCount.FAIL else total or 0
        return ended >= LEAST_PERCENT and of > 0 and number * 100 >= self.limit * of


def parse_halt(text: str) -> Halt | None:
    """Return what `--halt` says, None for `never`. Raises ValueError."""
    if text.strip() in ("never", "0"):
        return None
    found = _HALT.fullmatch(text.strip())
    if found is None or float(found[3]) <= 0 or (found[4] and float(found[3]) > 100):
        raise ValueError(f"{text!r} is not like now,fail=1 or soon,success=3 or soon,fail=10% or never")
    if not found[4] and "." in found[3]:
        raise ValueError(f"{text!r}: a count is a whole number")
    return Halt(found[1] == "now", HaltCount(found[2]), float(found[3]), bool(found[4]))


def check_halt(value: object) -> object:
    """Return `--halt` as text. Raises ValueError."""
    if value is not None:
        parse_halt(str(value))
        return str(value).strip()
    return None


Codes = Sequence[int]
