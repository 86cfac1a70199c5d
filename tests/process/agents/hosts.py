"""Agents for the tests of hosts: they are held by a FIFO, or leave something behind. Loaded by path."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any


def held(task: dict[str, str], state: Any) -> str:
    """Say that it has begun, then work until it is let go or interrupted."""
    _say(task)
    while not os.path.exists(task["go"]):
        time.sleep(0.01)
        state.raise_if_interrupted()
    return "done"


def deaf(task: dict[str, str], _state: Any) -> str:
    """The same, without a look at the flag."""
    _say(task)
    while not os.path.exists(task["go"]):
        try:
            time.sleep(0.01)
        except BaseException:  # nothing short of SIGKILL ends it
            continue
    return "done"


def orphaning(task: dict[str, str], state: Any) -> str:
    """Leave a daemon and a few short-lived orphans behind, then go on as `held`."""
    for seconds in ("0", "0", "1000"):
        subprocess.run(["sh", "-c", f"(setsid sleep {seconds} &)"], check=True)
    return held(task, state)


def _say(task: dict[str, str]) -> None:
    with open(task["began"], "a", encoding="utf-8") as file:
        file.write("began\n")


def __getattr__(name: str) -> Any:
    """`slow_to_load`: `held`, once the file SLOW_TO_LOAD exists."""
    if name != "slow_to_load":
        raise AttributeError(name)
    while not os.path.exists(os.environ["SLOW_TO_LOAD"]):
        time.sleep(0.01)
    return held
