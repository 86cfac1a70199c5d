"""What is stopped: the work of each kind, and the program that has it done. `python -m chaos.stops PEER JSON`.

Tasks write down themselves that they have ended, so that it is known which results there were to keep.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from chaos.peers import PEERS
from tests.support.chaos.agents import stick_in_c

KINDS = ("cooperative", "busy loop", "ignores SIGTERM", "stuck in C", "with child", "with detached grandchild")
"""Kinds of task, two of which run when the stop comes."""

LONG = 60
"""Seconds that a task of a kind would run."""

SHORT = 0.2
"""Seconds of the tasks that the other workers execute one after another: some end while the program stops."""


def work(order: dict[str, Any], state: Any = None) -> int:
    """Run a task of any kind, as a pool's function and as an agent."""
    if order["kind"] in KINDS:
        _last(order, state)
    else:
        time.sleep(SHORT if order["kind"] == "short" else 0.005)
    _write(order["done"], f"{order['n']}\n")
    return int(order["n"])


def _last(order: dict[str, Any], state: Any) -> None:
    """Hold the proof, tell that it stands, and go on for a long time."""
    kind = order["kind"]
    held = os.open(order["proof"], os.O_WRONLY)
    os.set_inheritable(held, True)
    if kind == "with child":
        subprocess.Popen(["sleep", str(LONG)], pass_fds=[held])
    elif kind == "with detached grandchild":
        _detach()
    elif kind == "ignores SIGTERM":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(held, b".")
    if kind == "stuck in C":
        stick_in_c(LONG)
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        if kind == "cooperative" and state is not None:
            state.sleep(LONG)
        elif kind != "busy loop":
            time.sleep(0.05)


def _detach() -> None:
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(LONG)
        os._exit(0)
    os.waitpid(child, 0)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(fd, text.encode())  # one small write: appends do not mix
    os.close(fd)


def orders(order: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """First a hundred quick ones, then two of the kind, and short ones without end."""
    kinds = ["quick"] * 100 + [order["kind"]] * 2 + ["short"] * int(LONG / SHORT)
    for n, kind in enumerate(kinds):
        yield {**order, "kind": kind, "n": n}


def end(number: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into an exit, so that `finally` runs, as tutorials advise."""
    raise SystemExit(128 + number)


def main() -> None:
    name, order = sys.argv[1], json.loads(sys.argv[2])
    pool = PEERS[name](4)
    if name != "quiesce":  # our supervisor handles its signals itself
        signal.signal(signal.SIGTERM, end)
    try:
        for result in pool.each(work, orders(order)):
            _write(order["kept"], f"{result}\n")
    finally:
        pool.stop()


if __name__ == "__main__":
    main()
