"""What the types of `orchestrator` must refuse. Never run; excused line by line as in typing_wrong.py."""

from __future__ import annotations

from orchestrator import Outcome, Supervisor, open_run
from runtime import ExecutionState


async def fetch(number: int) -> str:
    return str(number)


def count(path: str, state: ExecutionState) -> int:
    return len(path)


def three(path: str, state: ExecutionState, more: int) -> int:
    return more


def wrong(supervisor: Supervisor) -> None:
    number: int = next(supervisor.map(fetch, [1])).value  # type: ignore[assignment]
    outcomes = list(supervisor.map_unordered(count, ["a"]))
    text: Outcome[str] = outcomes[0]  # type: ignore[assignment]
    supervisor.map(count, [1])  # type: ignore[arg-type]
    supervisor.map(three, ["a"])  # type: ignore[arg-type]
    supervisor.map(count, ["a"], key="k")  # type: ignore[call-overload]
    text.index = 3  # type: ignore[misc]
    Supervisor(workers="four")  # type: ignore[arg-type]
    words: str = supervisor.submit(count, "a").result()  # type: ignore[assignment]
    supervisor.submit(fetch, 1).add_done_callback(lambda: None)  # type: ignore[misc, arg-type]
    supervisor.submit(fetch, 1).result("soon")  # type: ignore[arg-type]
    open_run("runs.db").events(kind=3)  # type: ignore[arg-type]
    open_run("runs.db").run_id = "other"  # type: ignore[misc]
    open_run()  # type: ignore[call-arg]
    print(number, text, words)
