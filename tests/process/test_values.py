"""What an agent returns, saves and is handed is exactly that on the other side; readers of the journal see JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import DecodeError, Supervisor
from runtime.model import ExecutionStatus
from tests.support.cli import run_cli
from tests.support.kinds import Colour, Pair, echo, is_same, save_then_stop
from tests.support.values import VALUES

SAMPLE = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
FEW = settings(SAMPLE, max_examples=2)  # three supervisors each
BATCHES = st.lists(VALUES, min_size=20, max_size=40)


def quiet(*_: Any) -> None:
    """A log that is not looked at."""


def test_inputs_and_results_are_exact_through_executors() -> None:
    with Supervisor(workers=2, log=quiet) as supervisor:

        @SAMPLE
        @given(BATCHES)
        def check(values: list[Any]) -> None:
            handles = [supervisor.submit(echo, value, key=str(number)) for number, value in enumerate(values)]
            for handle, value in zip(handles, values, strict=True):
                assert is_same(handle.result(), value)

        check()


def test_results_and_snapshots_are_exact_through_the_journal_and_a_resumed_run(tmp_path: Path) -> None:
    numbers = iter(range(1000))

    @FEW
    @given(BATCHES)
    def check(values: list[Any]) -> None:
        run_id = f"run{next(numbers)}"
        keys = [str(number) for number in range(len(values))]
        found: list[Any] = []
        for _ in range(3):  # interrupted with a snapshot; gone on with; all of it read from the journal
            with Supervisor(workers=1, journal=tmp_path / "j.db", run_id=run_id, log=quiet) as supervisor:
                found = list(supervisor.map(save_then_stop, values, keys=keys))
        assert [one.status for one in found] == [ExecutionStatus.COMPLETED] * len(values)
        for one, value in zip(found, values, strict=True):
            assert is_same(one.value, [[value]])
            json.loads((one.encoded if one.exact else one.projection) or b"")

    check()


def test_readers_of_the_journal_see_the_value_or_a_marked_projection(tmp_path: Path) -> None:
    values = [[1.0, 2.0], (float("nan"), 2.0), Pair(Colour.RED, {1, 2}), {1: "a", "1": "b"}, {"a": None}]
    with Supervisor(workers=1, journal=tmp_path / "j.db", run_id="r", log=quiet) as supervisor:
        list(supervisor.map(echo, values))
    done = run_cli("results", "r", "--json", "-j", tmp_path / "j.db")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["value"], each["exact"], each["type"]) for each in found] == [
        ([1.0, 2.0], True, None),
        (["NaN", 2.0], False, "tuple"),
        ({"left": 1, "right": [1, 2]}, False, "tests.support.kinds.Pair"),
        ({"$items": [[1, "a"], ["1", "b"]]}, False, "dict"),
        ({"a": None}, True, None),
    ]
    lines = run_cli("results", "r", "-j", tmp_path / "j.db").stdout.splitlines()
    assert lines[1].endswith('["NaN",2.0] (tuple)')
    assert lines[4].endswith('{"a":null}')


@pytest.mark.parametrize("with_journal", [False, True])
def test_a_value_that_the_caller_cannot_read_is_an_error_and_not_a_lost_outcome(
    tmp_path: Path, with_journal: bool
) -> None:
    (tmp_path / "vanishing.py").write_text("class Order:\n    number = 1\n")

    def make(path: str, state: Any) -> Any:
        import importlib  # noqa: PLC0415 - the agent's own
        import sys  # noqa: PLC0415

        sys.path.insert(0, path)
        return importlib.import_module("vanishing").Order()

    journal = tmp_path / "j.db" if with_journal else None
    with Supervisor(workers=1, journal=journal, log=quiet) as supervisor:
        handle = supervisor.submit(make, str(tmp_path), key="k")
        outcome = handle.outcome()
        reads: list[Callable[[], Any]] = [handle.result, lambda: outcome.value]
        for read in reads:
            with pytest.raises(DecodeError) as failed:
                read()
            assert str(failed.value) == (
                "task k completed, but its value cannot be read here: it is of type vanishing.Order"
                " (ModuleNotFoundError: No module named 'vanishing')"
            )
    assert outcome.status is ExecutionStatus.COMPLETED
    sys.path.insert(0, str(tmp_path))
    try:
        assert outcome.value.number == 1
    finally:
        sys.path.remove(str(tmp_path))
        del sys.modules["vanishing"]


def test_an_input_that_an_executor_cannot_read_fails_its_task_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "here_only.py").write_text("class Order: ...\n")
    sys.path.insert(0, str(tmp_path))
    try:
        with Supervisor(workers=1, log=quiet) as supervisor:
            import here_only  # type: ignore[import-not-found]  # noqa: PLC0415

            supervisor.submit(echo, 1).result()  # an executor that was there before
            (tmp_path / "here_only.py").unlink()
            outcome = supervisor.submit(echo, here_only.Order()).outcome()
            assert supervisor.submit(echo, 2).result() == 2
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("here_only", None)
    assert outcome.status is ExecutionStatus.FAILED
    assert "cannot be read here: it is of type here_only.Order" in (outcome.error or "")


class Silent:
    """Asking for its repr ends the program."""

    def __repr__(self) -> str:
        raise SystemExit

    __str__ = __repr__


def test_a_projection_that_cannot_be_made_fails_no_task() -> None:
    with Supervisor(workers=1, log=quiet) as supervisor:
        outcome = supervisor.submit(lambda _x, _state: [Silent(), [ValueError(Silent())]], 1).outcome()
    assert outcome.status is ExecutionStatus.COMPLETED, outcome
    assert type(outcome.value[0]) is Silent
    assert b"$repr" in (outcome.projection or b"")
