"""Asking contenders, one fresh interpreter a measurement, under a time limit, with nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bench import ROOT, SCRIPTS
from tests.support.cli import Running
from tests.support.eof import ExitDetector


@dataclass(frozen=True)
class Scale:
    """How much is measured: the full benchmark, or a smoke test of it."""

    rounds: int
    tasks: int
    trips: int
    executors: int
    many: int
    limit: float
    longest: int


FULL = Scale(rounds=5, tasks=10_000, trips=500, executors=32, many=64, limit=15.0, longest=1_000_000)
QUICK = Scale(rounds=1, tasks=500, trips=50, executors=8, many=8, limit=3.0, longest=1_000)


@dataclass
class Answer:
    """What one measurement brought: the lines it printed, or why there are none."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""

    @property
    def last(self) -> dict[str, Any]:
        return self.lines[-1] if self.lines else {}


@contextmanager
def started(module: str, what: list[str], limit: float) -> Iterator[Running]:
    """Start a measurement with a scratch folder of its own."""
    with tempfile.TemporaryDirectory(prefix="quiesce-bench-") as folder:
        path = os.pathsep.join([str(SCRIPTS), str(ROOT)])
        env = {"PYTHONPATH": path, "BENCH_FOLDER": folder, "PYTHONFAULTHANDLER": ""}
        with Running([sys.executable, "-m", module, *what], env=env, timeout=limit) as running:
            yield running


def ask(module: str, what: str, *, mode: str | None = None, limit: float = 60.0, **order: Any) -> Answer:
    """Run one measurement to its end, or to its limit, and take the lines that it printed until then."""
    words = [*([mode] if mode else []), what, json.dumps(order)]
    with started(module, words, limit) as running:
        problem = ""
        try:
            done = running.wait()
            if done.returncode != 0:
                problem = f"ended with {done.returncode}: {last_line(done.stderr)}"
        except AssertionError:
            problem = f"not within {limit:g} s"
        return Answer([json.loads(line) for line in running.stdout.splitlines() if line.startswith("{")], problem)


def last_line(text: str) -> str:
    """Return the most telling line of a traceback: the last that names an exception, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt|Exit|Expired)\b", line)]
    return (named or lines or ["no word"])[-1][:120]


@dataclass(frozen=True)
class Stood:
    """Seconds until every worker stood, and from SIGTERM until nothing was left. None: not within the limit."""

    ready: float | None = None
    gone: float | None = None
    problem: str = ""


def stand_and_fall(name: str, workers: int, limit: float, *, fall: bool) -> Stood:
    """Start a pool, wait until every worker is in a task, then (if `fall`) send SIGTERM to its main process only."""
    with ExitDetector() as proof:
        began = time.monotonic()
        words = ["stand", name, json.dumps({"workers": workers, "proof": proof.path})]
        with started("bench.child", words, limit * 4 + 60) as running:
            if not all_stand(proof, workers, running):
                return Stood(problem=f"not ready: {last_line(running.stderr)}")
            ready = time.monotonic() - began
            if not fall:
                return Stood(ready=ready)
            began = time.monotonic()
            running.send(signal.SIGTERM)
            try:
                proof.wait(limit)
                running.popen.wait(max(0.01, limit - (time.monotonic() - began)))
            except (AssertionError, subprocess.TimeoutExpired):
                return Stood(ready=ready, problem=f"not within {limit:g} s")
            return Stood(ready=ready, gone=time.monotonic() - began)


def all_stand(proof: ExitDetector, workers: int, running: Running, deadline: float = 60.0) -> bool:
    """Block until every worker holds the proof; False when that cannot come any more."""
    end = time.monotonic() + deadline
    while workers and time.monotonic() < end and running.popen.poll() is None:
        try:
            proof.wait_until_held(1, deadline=0.25)
            workers -= 1
        except AssertionError:
            continue
    return not workers


def in_turns(names: Iterable[str], rounds: int, measure: Callable[[str], Any]) -> dict[str, list[Any]]:
    """Every contender once a round, so that a neighbour's noise falls on all alike."""
    found: dict[str, list[Any]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, results in found.items():
            results.append(measure(name))
    return found
