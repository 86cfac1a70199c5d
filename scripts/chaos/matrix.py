"""Stopping one program in one way, and what is seen of it from outside."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from chaos import ROOT, SCRIPTS
from chaos.peers import GRACE, PEERS
from chaos.stops import KINDS
from orchestrator.journal import open_journal
from runtime.model import ExecutionStatus
from tests.support import procs
from tests.support.cli import Running
from tests.support.eof import ExitDetector

WAYS = ("TERM to main", "INT to the group", "KILL of main")
"""How it is stopped."""

AFTER = 2 * GRACE + 1.0
"""Seconds after the main process's end in which what it started may still go: our graces, and one."""

MOMENT = 0.1
"""Seconds that a finished result may be on its way: one that is when main is SIGKILLed is made again."""


@dataclass(frozen=True)
class Cell:
    """One case. `status` is the exit status as subprocess gives it, None if it had to be killed at the limit."""

    peer: str
    kind: str
    way: str
    status: int | None = None
    seconds: float = 0.0
    left: int = 0
    kept: int = 0
    finished: int = 0
    problem: str = ""

    @property
    def is_clean(self) -> bool:
        """It ended by itself, nothing was left, and every finished result was kept."""
        return not self.problem and self.status is not None and not self.left and self.kept >= self.finished

    def __str__(self) -> str:
        if self.problem:
            return self.problem
        ended = "hangs" if self.status is None else f"{_status(self.status)} {self.seconds:.1f} s"
        left = f", {self.left} left" if self.left else ""
        lost = f", {self.finished - self.kept} lost" if self.kept < self.finished else ""
        return f"{ended}{left}{lost}"


def available(peer: str) -> bool:
    """Whether a peer's module is installed."""
    needs = PEERS[peer].needs
    return not needs or importlib.util.find_spec(needs) is not None


def stop(peer: str, kind: str, way: str, limit: float) -> Cell:
    """Start a program, wait until the tasks of the kind stand, stop it, and look."""
    with tempfile.TemporaryDirectory(prefix="quiesce-stop-") as name, ExitDetector() as proof:
        folder = Path(name)
        order = {"kind": kind, "done": f"{name}/done", "kept": f"{name}/kept", "proof": proof.path}
        env = {"PYTHONPATH": f"{SCRIPTS}:{ROOT}", "BENCH_FOLDER": name, "PYTHONFAULTHANDLER": "", "TMPDIR": name}
        words = [sys.executable, "-m", "chaos.stops", peer, json.dumps(order)]
        with Running(words, env=env, timeout=limit * 3 + 60) as running:
            try:
                proof.wait_until_held(1, deadline=40)
            except AssertionError:
                return Cell(peer, kind, way, problem=f"did not start: {' '.join(running.stderr.split())[-80:]}")
            with suppress(AssertionError):  # it may be queued behind the first one, which holds everything up
                proof.wait_until_held(1, deadline=1)
            before = _lines(folder / "done")
            time.sleep(MOMENT)
            began = time.monotonic()
            _send(running, way)
            status = _wait(running.popen, limit)
            seconds, left = _watch(running, proof, began, AFTER if status is not None else 0.0)
            kept = _kept(peer, folder)
            finished = before if way == "KILL of main" else _lines(folder / "done")
        return Cell(peer, kind, way, status, seconds, left, kept, finished)


def _send(running: Running, way: str) -> None:
    if way == "INT to the group":
        running.send_group(signal.SIGINT)
    else:
        running.send(signal.SIGTERM if way == "TERM to main" else signal.SIGKILL)


def _wait(popen: subprocess.Popen[bytes], limit: float) -> int | None:
    try:
        return popen.wait(limit)
    except subprocess.TimeoutExpired:
        return None


def _watch(running: Running, proof: ExitDetector, began: float, patience: float) -> tuple[float, int]:
    """Seconds from the signal until main and all that it started were gone; how many were not, in the end."""
    end = time.monotonic() + patience
    while (left := _left(running, proof)) and time.monotonic() < end:
        time.sleep(0.02)
    return time.monotonic() - began, len(left)


def _left(running: Running, proof: ExitDetector) -> set[int]:
    """Find every process but main: by the tree, by the environment, by the proof's descriptor."""
    holders = procs.select(lambda pid: bool(procs.holds(pid, proof.path)))
    found = {each for each in (*running.tree(), *holders) if each.pid != running.pid}
    return {each.pid for each in found if _lives(each)}


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _lines(path: Path) -> int:
    return len(set(path.read_text().split())) if path.exists() else 0


def _kept(peer: str, folder: Path) -> int:
    """Return what the user has in the end: what the program wrote as it came; with quiesce, what the journal has."""
    if not peer.startswith("quiesce"):
        return _lines(folder / "kept")
    with open_journal(os.fspath(folder / "journal.db"), "read") as journal:
        return sum(1 for _ in journal.results(journal.get_run("compare").id, [ExecutionStatus.COMPLETED]))


def table(cells: Sequence[Cell], peers: Sequence[str], *, markdown: bool) -> str:
    """One row a peer and way, one column a kind."""
    rows = [["", "", *KINDS]]
    for peer in peers:
        for way in WAYS:
            found = {cell.kind: str(cell) for cell in cells if (cell.peer, cell.way) == (peer, way)}
            if found:
                rows.append([peer, way, *(found.get(kind, "") for kind in KINDS)])
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    padded = [[text.ljust(width) for text, width in zip(row, widths, strict=True)] for row in rows]
    return "\n".join("  ".join(row).rstrip() for row in padded)


def summary(cells: Sequence[Cell], peers: Sequence[str], *, markdown: bool) -> str:
    """One line a peer: in how many cases it was clean, and what went wrong in the others."""
    rows = [["", "clean", "hangs", "leaves processes", "loses results", "median s", "max s"]]
    for peer in peers:
        mine = sorted((cell for cell in cells if cell.peer == peer), key=lambda cell: cell.seconds)
        ended = [cell for cell in mine if cell.status is not None]
        rows.append([
            peer,
            f"{sum(cell.is_clean for cell in mine)} of {len(mine)}",
            str(sum(cell.status is None and not cell.problem for cell in mine)),
            str(sum(cell.left > 0 for cell in mine)),
            str(sum(cell.kept < cell.finished for cell in mine)),
            f"{ended[len(ended) // 2].seconds:.2f}" if ended else "-",
            f"{ended[-1].seconds:.2f}" if ended else "-",
        ])  # fmt: skip
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
    return "\n".join(f"{row[0]:32}" + "".join(f"{text:>18}" for text in row[1:]) for row in rows)


def _status(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit {code}"
