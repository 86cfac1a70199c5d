"""An agent, and a child of it, that have something to say before they do what matters at their end. Loaded by path."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from runtime import ExecutionState, agent
from tests.support.sync import announce

CHILD = """
import pathlib, signal, sys
def end(*_):
    print("bye", flush=True)
    print("bye", file=sys.stderr, flush=True)
    pathlib.Path(sys.argv[1]).touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[2]).write_text("up\\n")
while True:
    signal.pause()
"""


@agent(grace=20.0, term_grace=1.0)
def needs_long(task: dict[str, str], state: ExecutionState) -> None:
    """Wait for the interrupt, and then need longer than the run's grace, as the agent itself has said that it may."""
    announce(task["post"])
    try:
        state.sleep(60)
    finally:
        time.sleep(1.0)
        Path(task["agent"]).touch()


def has_many(task: dict[str, Any], state: ExecutionState) -> None:
    """Many detached grandchildren, deaf to SIGTERM, half of them in sessions of their own."""
    for number in range(task["count"]):
        child = os.fork()
        if child == 0:
            if number % 2:
                os.setsid()
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(60)
            os._exit(0)
        os.waitpid(child, 0)
    announce(task["post"])
    state.sleep(60)


def says_goodbye(task: dict[str, str], state: Any) -> None:
    """Wait for the interrupt, print more than a pipe holds, and then do what matters."""
    subprocess.Popen([sys.executable, "-c", CHILD, task["child"], task["post"]])
    try:
        state.sleep(60)
    finally:
        for _ in range(300):
            print("." * 1000, flush=True)
        Path(task["agent"]).touch()
