"""Agents that are deep in something when the TERM rung comes, and what they do then. Loaded by path."""

from __future__ import annotations

import contextvars
import multiprocessing
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime import ExecutionState
from tests.support.sync import announce

Input = dict[str, Any]


def _lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def _busy() -> None:
    while True:
        pass


def _sleep() -> None:
    time.sleep(60)


def _child() -> None:
    subprocess.run(["sleep", "60"], check=False)


BLOCKS: dict[str, Callable[[], object]] = {
    "child": _child,
    "read": lambda: os.read(os.pipe()[0], 1),
    "recv": lambda: socket.socketpair()[0].recv(1),
    "lock": _lock,
    "queue": lambda: queue.SimpleQueue[int]().get(),
    "event": lambda: threading.Event().wait(),
    "sleep": _sleep,
    "context": lambda: contextvars.Context().run(_busy),
}


def _nap_for_ever() -> None:
    while True:
        time.sleep(0.001)


def blocks(task: Input, state: ExecutionState) -> None:
    """Block in a system call, or run where no context says what runs, and leave a mark on the way out."""
    for _ in range(task.get("threads", 0)):
        threading.Thread(target=_nap_for_ever, daemon=True).start()
    announce(task["post"], task["in"])
    try:
        BLOCKS[task["in"]]()
    finally:
        Path(task["mark"]).touch()


def shielded(task: Input, state: ExecutionState) -> None:
    """Leave shields by errors only, again and again."""
    announce(task["post"])
    try:
        while True:
            try:
                with state.shield():
                    time.sleep(0.05)
                    raise ConnectionError("again")
            except ConnectionError:
                time.sleep(0.001)
    finally:
        Path(task["mark"]).touch()


def masked(task: Input, state: ExecutionState) -> Any:
    """The first task blocks SIGTERM, and forgets that."""
    if "mark" in task:
        blocks(task, state)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    return "done"


def forks(task: Input, state: ExecutionState) -> int | None:
    """End a child that was forked, as multiprocessing's pools do."""
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join(20)
    code = child.exitcode
    child.kill()
    return code


def nameless(task: Input, state: ExecutionState) -> str:
    """Leave a process behind with a session and an environment of its own."""
    subprocess.run(["setsid", "-f", "env", "-i", "/bin/sleep", "61"], check=True)
    return "done"
