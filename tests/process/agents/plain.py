"""Well-behaved agents, and those that meet the test at a place it chooses. Inputs carry the paths."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from runtime import ExecutionState, agent
from tests.support.eof import hold
from tests.support.sync import announce, wait_for_gate


def double(task: Any, state: ExecutionState) -> Any:
    """Twice the input, or its "n"."""
    return 2 * (task["n"] if isinstance(task, dict) else task)


def fail_odd(task: int, state: ExecutionState) -> int:
    """Odd numbers fail."""
    if task % 2:
        raise ValueError(f"{task} is odd")
    return task


def square_slowly(task: int, state: ExecutionState) -> int:
    """A few milliseconds with checkpoints in them."""
    for _ in range(5):
        state.sleep(0.002)
    return task * task


def square_below_limit(task: int, state: ExecutionState) -> int:
    """Likewise, when the number in the file QM_LIMIT is above that of the task."""
    while task >= int(Path(os.environ["QM_LIMIT"]).read_text()):
        state.sleep(0.002)
    return square_slowly(task, state)


def meet(task: dict[str, Any], state: ExecutionState) -> str:
    """Announce the key and wait for the gate, deaf to the flag; tasks without a post pass through."""
    if "proof" in task:
        hold(task["proof"])
    if "post" in task:
        announce(task["post"], f"{task['key']} {os.getpid()}")
        wait_for_gate(task["gate"])
    return str(task["key"])


def echo(task: Any, state: ExecutionState) -> Any:
    """What came in."""
    return task


def value(task: dict[str, Any], state: ExecutionState) -> Any:
    """The value of an outcome of another run."""
    return task["value"]


def meet_row(task: dict[str, str], state: ExecutionState) -> str:
    """`meet` for a row of a table: fields that are empty count as missing."""
    return meet({name: value for name, value in task.items() if value}, state)


def wait(task: dict[str, Any], state: ExecutionState) -> str:
    """Announce the key and sleep until interrupted; tasks without a post return at once."""
    if "proof" in task:
        hold(task["proof"])
    if "post" in task:
        announce(task["post"], f"{task['key']} {os.getpid()}")
        state.sleep(1000)
    return str(task["key"])


def step(task: dict[str, Any], state: ExecutionState) -> dict[str, Any]:
    """Count to `steps`, saving a snapshot at each; what it found at its start and every step it did come back."""
    found = state.snapshot
    done = list(found or [])
    for number in range(len(done), task["steps"]):
        state.raise_if_interrupted()
        done.append(number)
        state.save_snapshot(done)
        if number == task.get("stop_at") and found is None:
            announce(task["post"], str(os.getpid()))
            if task.get("crash"):
                os._exit(9)
            if task.get("fail"):
                raise RuntimeError("half-way")
            state.sleep(1000)
    return {"found": found, "done": done}


def flaky(task: dict[str, Any], state: ExecutionState) -> str:
    """Fail until the file has as many lines as `until`."""
    with open(task["ledger"], "a", encoding="utf-8") as ledger:
        ledger.write(f"{time.monotonic()}\n")
    with open(task["ledger"], encoding="utf-8") as ledger:
        tries = len(ledger.readlines())
    if tries < task["until"]:
        raise RuntimeError(f"try {tries}")
    return f"try {tries}"


def count(task: Any, state: ExecutionState) -> Any:
    """The input itself."""
    return task


class Callable:
    """An instance with `__call__` is an agent too."""

    def __call__(self, task: Any, state: ExecutionState) -> Any:
        return [task]


instance = Callable()


@agent(retries=2)
def with_options(task: dict[str, Any], state: ExecutionState) -> str:
    """Its own retries."""
    return flaky(task, state)


def wait_then_fail(task: dict[str, Any], state: ExecutionState) -> None:
    """Wait to be interrupted until the ledger exists; from then on fail, and write each try down."""
    if not os.path.exists(task["ledger"]):
        announce(task["post"], task["key"])
        state.sleep(1000)
    with open(task["ledger"], "a", encoding="utf-8") as ledger:
        ledger.write("tried\n")
    raise RuntimeError("as ever")


def fail_or_wait(task: dict[str, Any], state: ExecutionState) -> str:
    """Fail on an "n"; wait to be interrupted as long as there is a post."""
    if "n" in task:
        raise RuntimeError("bad input")
    if os.path.exists(task.get("post", "")):
        announce(task["post"], task["key"])
        state.sleep(1000)
    return str(task["key"])


def talk(task: dict[str, Any], state: ExecutionState) -> None:
    """Print many lines, announce that, and sleep until interrupted."""
    for number in range(task["lines"]):
        print(f"{number}: {'word ' * 30}")
    announce(task["post"], "said")
    state.sleep(1000)
