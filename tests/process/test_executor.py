"""SupervisedExecutor as a program uses it: values, exceptions, cancellation, crashes, the end."""

from __future__ import annotations

import concurrent.futures
import operator
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.futures import CallCrashed, CallFuture, SupervisedExecutor
from runtime.errors import ExecutionInterrupted
from runtime.model import InterruptReason

WAIT = 60.0


class Refused(Exception):
    """An exception that its `args` alone do not make."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code, self.why = code, why

    def __reduce__(self) -> tuple[Any, ...]:
        return Refused, (self.code, self.why)


def identity(value: Any) -> Any:
    return value


def refuse(code: int) -> None:
    raise Refused(code, "no")


def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def generate() -> Iterator[int]:
    yield from range(3)


def begin_and_hang(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    threading.Event().wait(600)


def await_file(path: Path) -> str:
    end = time.monotonic() + WAIT
    while not path.is_file() or not path.read_text():
        assert time.monotonic() < end, f"{path} has not come"
        time.sleep(0.005)
    return path.read_text()


def await_end(pid: int) -> None:
    end = time.monotonic() + WAIT
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end, f"process {pid} is still there"
        time.sleep(0.005)


@pytest.fixture
def executor() -> Iterator[SupervisedExecutor]:
    with SupervisedExecutor(2, grace=0.2, term_grace=5) as executor:
        yield executor


def test_values_come_back_exactly(executor: SupervisedExecutor) -> None:
    """Type and value, at any depth."""
    value = {"a": (1, 2.5, None), 3: [b"x", {4}, frozenset({5})], "nested": [({"k": (1,)},)]}
    result = executor.submit(identity, value).result(WAIT)
    assert result == value
    assert type(result["a"]) is tuple
    assert type(result["nested"][0]) is tuple
    assert executor.submit(lambda *args, **kwargs: (args, kwargs), 1, fn=2, self=3).result(WAIT) == (
        (1,),
        {"fn": 2, "self": 3},
    )


def test_an_exception_comes_back_itself_with_the_remote_traceback_as_cause(executor: SupervisedExecutor) -> None:
    with pytest.raises(Refused) as raised:
        executor.submit(refuse, 403).result(WAIT)
    assert (raised.value.code, raised.value.why) == (403, "no")
    assert 'raise Refused(code, "no")' in str(raised.value.__cause__)


def test_a_crash_costs_one_future_and_is_a_broken_process_pool(executor: SupervisedExecutor) -> None:
    others = [executor.submit(time.sleep, 0.01) for _ in range(5)]
    with pytest.raises(CallCrashed, match="SIGKILL") as raised:
        executor.submit(crash).result(WAIT)
    assert isinstance(raised.value, BrokenProcessPool)
    assert [future.result(WAIT) for future in others] == [None] * 5
    assert executor.submit(pow, 2, 5).result(WAIT) == 32


def test_what_cannot_be_pickled_fails_its_own_future(executor: SupervisedExecutor) -> None:
    for future in (executor.submit(identity, threading.Lock()), executor.submit(generate)):
        with pytest.raises(TypeError, match="pickle"):
            future.result(WAIT)
    assert executor.submit(pow, 2, 5).result(WAIT) == 32


def test_cancel_ends_a_function_that_runs(executor: SupervisedExecutor, tmp_path: Path) -> None:
    future = executor.submit(begin_and_hang, str(tmp_path / "pid"))
    pid = int(await_file(tmp_path / "pid"))
    assert future.running()
    assert future.cancel()
    concurrent.futures.wait([future], WAIT)
    assert future.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    assert executor.submit(pow, 2, 5).result(WAIT) == 32
    assert pid


def test_map_is_in_order_and_in_chunks(executor: SupervisedExecutor) -> None:
    expected = [number + 1 for number in range(500)]
    for options in ({}, {"chunksize": 7}, {"buffersize": 3}, {"chunksize": 7, "buffersize": 2}):
        assert list(executor.map(operator.add, range(500), [1] * 500, **options)) == expected


def test_map_with_a_buffersize_reads_no_further(executor: SupervisedExecutor) -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(1_000_000):
            taken.append(number)
            yield number

    values = executor.map(identity, numbers(), buffersize=4)
    assert [next(values) for _ in range(3)] == [0, 1, 2]
    assert len(taken) <= 7
    values.close()  # type: ignore[attr-defined]


def test_callbacks_may_submit_and_wait(executor: SupervisedExecutor) -> None:
    done = threading.Event()
    values: list[int] = []

    def follow(future: CallFuture[int]) -> None:
        values.append(executor.submit(pow, future.result(), 2).result(WAIT))
        done.set()

    executor.submit(pow, 3, 2).add_done_callback(follow)
    assert done.wait(WAIT)
    assert values == [81]


def test_an_exception_that_leaves_the_block_interrupts(tmp_path: Path) -> None:
    with pytest.raises(LookupError), SupervisedExecutor(1, grace=0.2, term_grace=5) as executor:
        future = executor.submit(begin_and_hang, str(tmp_path / "pid"))
        waiting = executor.submit(pow, 2, 5)
        pid = int(await_file(tmp_path / "pid"))
        raise LookupError
    await_end(pid)
    for interrupted in (future, waiting):
        assert isinstance(interrupted.exception(WAIT), ExecutionInterrupted)


def test_interrupt_gives_its_reason(tmp_path: Path) -> None:
    with SupervisedExecutor(1, grace=0.2, term_grace=5) as executor:
        future = executor.submit(begin_and_hang, str(tmp_path / "pid"))
        await_file(tmp_path / "pid")
        executor.interrupt(InterruptReason.RESOURCE_LIMIT, "no more money")
        with pytest.raises(ExecutionInterrupted, match="no more money"):
            future.result(WAIT)
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(pow, 2, 5)


@pytest.mark.parametrize("rung", ["terminate_workers", "kill_workers"])
def test_processes_can_be_ended_at_once(rung: str, tmp_path: Path) -> None:
    """Without the grace, as Python 3.14 has it."""
    with SupervisedExecutor(1, grace=600, term_grace=600 if rung == "kill_workers" else 5) as executor:
        future = executor.submit(begin_and_hang, str(tmp_path / "pid"))
        waiting = executor.submit(pow, 2, 5)
        pid = int(await_file(tmp_path / "pid"))
        getattr(executor, rung)()
        with pytest.raises(BrokenProcessPool):
            future.result(WAIT)
        assert waiting.cancelled()
        await_end(pid)


def test_arguments_are_checked_as_the_standard_library_checks_them() -> None:
    for count in (0, -1):
        with pytest.raises(ValueError, match="max_workers must be greater than 0"):
            SupervisedExecutor(count)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        SupervisedExecutor(1, initializer=1)  # type: ignore[arg-type]
    with SupervisedExecutor(1) as executor, pytest.raises(ValueError, match="chunksize must be >= 1"):
        executor.map(identity, [1], chunksize=0)


def test_the_maps_of_multiprocessing(executor: SupervisedExecutor) -> None:
    expected = [number * 3 for number in range(100)]
    assert list(executor.imap(partial(operator.mul, 3), range(100))) == expected
    assert sorted(executor.imap_unordered(partial(operator.mul, 3), iter(range(100)), chunksize=7)) == expected
    assert executor.starmap(pow, [(2, 3), [3, 2]]) == [8, 9]


def test_imap_unordered_yields_what_is_ready_first(executor: SupervisedExecutor, tmp_path: Path) -> None:
    values = executor.imap_unordered(wait_for, [str(tmp_path / "a"), "/"], buffersize=2)
    assert next(values) == "/"
    (tmp_path / "a").write_text("")
    assert next(values) == str(tmp_path / "a")


def wait_for(path: str) -> str:
    while not Path(path).exists():
        time.sleep(0.005)
    return path
