"""A crash at each place where a call's own code runs: it costs one future, says why, and the executor works on.

After loky's matrix: the function; the argument and the result while they are pickled, unpickled and collected; by a
signal, by `os._exit`, by `sys.exit`, by an exception.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest

from orchestrator.futures import SupervisedExecutor

WAIT = 60.0


def by_signal() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def by_exit_code() -> None:
    os._exit(7)


def by_sys_exit() -> None:
    sys.exit(3)


def by_exception() -> None:
    raise pickle.PicklingError("by its own code")


def returning(kind: type, harm: Callable[[], None]) -> Any:
    return kind(harm)


def identity(value: Any) -> Any:
    return value


def harm_then_make(harm: Callable[[], None]) -> None:
    harm()


class AtPickle:
    def __init__(self, harm: Callable[[], None]) -> None:
        self.harm = harm

    def __reduce__(self) -> Any:
        self.harm()
        raise AssertionError("its harm is to end this")


class AtUnpickle:
    def __init__(self, harm: Callable[[], None]) -> None:
        self.harm = harm

    def __reduce__(self) -> Any:
        return harm_then_make, (self.harm,)


class AtCollection:
    """Does harm when it is collected in another process than the test's."""

    def __init__(self, harm: Callable[[], None], home: int) -> None:
        self.harm = harm
        self.home = home

    def __del__(self) -> None:
        if os.getpid() != self.home:
            self.harm()


MATRIX = [
    pytest.param(by_signal, (), BrokenProcessPool, "SIGKILL", id="function: signal"),
    pytest.param(by_exit_code, (), BrokenProcessPool, "7", id="function: exit code"),
    pytest.param(by_sys_exit, (), SystemExit, "3", id="function: sys.exit"),
    pytest.param(by_exception, (), pickle.PicklingError, "by its own code", id="function: exception"),
    pytest.param(identity, (AtPickle(by_exception),), pickle.PicklingError, "by its own code", id="argument at pickle"),
    pytest.param(identity, (AtUnpickle(by_signal),), BrokenProcessPool, "SIGKILL", id="argument at unpickle: signal"),
    pytest.param(identity, (AtUnpickle(by_exit_code),), BrokenProcessPool, "7", id="argument at unpickle: exit code"),
    pytest.param(identity, (AtUnpickle(by_sys_exit),), BrokenProcessPool, "SystemExit", id="argument unpickled: exit"),
    pytest.param(
        identity,
        (AtUnpickle(by_exception),),
        BrokenProcessPool,
        "by its own code",
        id="argument unpickled: error",
    ),
    pytest.param(returning, (AtPickle, by_signal), BrokenProcessPool, "SIGKILL", id="result at pickle: signal"),
    pytest.param(returning, (AtPickle, by_exit_code), BrokenProcessPool, "7", id="result at pickle: exit code"),
    pytest.param(returning, (AtPickle, by_sys_exit), SystemExit, "3", id="result at pickle: sys.exit"),
    pytest.param(
        returning, (AtPickle, by_exception), pickle.PicklingError, "by its own code", id="result at pickle: exception"
    ),
    pytest.param(returning, (AtUnpickle, by_sys_exit), BrokenProcessPool, "SystemExit", id="result at unpickle: exit"),
    pytest.param(
        returning, (AtUnpickle, by_exception), BrokenProcessPool, "by its own code", id="result at unpickle: exception"
    ),
]


@pytest.fixture
def executor() -> Iterator[SupervisedExecutor]:
    with SupervisedExecutor(1) as executor:
        yield executor


@pytest.mark.parametrize(("function", "arguments", "error", "text"), MATRIX)
def test_a_crash_costs_its_own_future(
    function: Callable[..., Any], arguments: tuple[Any, ...], error: type[BaseException], text: str,
    executor: SupervisedExecutor,
) -> None:  # fmt: skip
    future = executor.submit(function, *arguments)
    behind = executor.submit(pow, 2, 5)
    assert type(future.exception(WAIT)) is error or issubclass(error, BrokenProcessPool)
    with pytest.raises(error, match=text):
        future.result(WAIT)
    assert behind.result(WAIT) == 32


@pytest.mark.parametrize("harm", [by_signal, by_exit_code])
@pytest.mark.parametrize("what", ["argument", "result"])
def test_a_crash_at_collection_harms_no_other(
    what: str, harm: Callable[[], None], executor: SupervisedExecutor
) -> None:
    """The call may be over, and committed, or not: it ends one way or the other, and the next one works."""
    arguments: tuple[Any, ...] = (AtCollection(harm, os.getpid()),) if what == "argument" else (harm, os.getpid())
    future = executor.submit(id if what == "argument" else AtCollection, *arguments)
    error = future.exception(WAIT)
    assert error is None or isinstance(error, BrokenProcessPool)
    assert executor.submit(pow, 2, 5).result(WAIT) == 32
