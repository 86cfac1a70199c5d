"""orchestrator.remote_exceptions: exceptions of agents come back as they were, and nothing is executed for it."""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from types import ModuleType
from typing import Any, Self

import pytest

from orchestrator.core.records import TaskOutcome
from orchestrator.outcome import Outcome
from orchestrator.remote_exceptions import RemoteTraceback, TaskFailed, exception_of, find_class, rebuild
from runtime.errors import ExecutionInterrupted, QuiesceError
from runtime.failure import Failure
from runtime.ipc.failures import describe_failure
from runtime.model import ExecutionStatus, InterruptReason, InterruptSignal


class Refused(ValueError):
    """Takes other arguments than it keeps."""

    made = 0

    def __init__(self, code: int, *, why: str) -> None:
        Refused.made += 1
        super().__init__(f"refused with {code}")
        self.code, self.why = code, why


class Lost(OSError):
    def __init__(self, path: str) -> None:
        super().__init__(2, "lost", path)


class Plain(LookupError):
    class Inner(Exception):
        pass


class Own(BaseException):
    pass


class Made(Exception):
    def __new__(cls, *args: Any) -> Self:
        return super().__new__(cls, *args)


class Slotted(Exception):
    __slots__ = ("code",)


def noted() -> Exception:
    error = ValueError("x")
    error.add_note("seen twice")
    return error


def decoding_error() -> Exception:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{1")
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad"),
        KeyError(("a", 1)),
        FileNotFoundError(2, "no such file", "a.txt"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        ModuleNotFoundError("no module", name="x.y", path="/p"),
        ZeroDivisionError(),
        decoding_error(),
        noted(),
        Refused(3, why="late"),
        Lost("b.txt"),
        Plain(1, 2.5, None),
        Plain.Inner({"a": [b"1"]}),
        Own("x"),
        QuiesceError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_comes_back_as_it_was(error: BaseException) -> None:
    made = Refused.made
    rebuilt = rebuild(describe_failure(error))
    assert type(rebuilt) is type(error)
    assert (str(rebuilt), rebuilt.args, vars(rebuilt)) == (str(error), error.args, vars(error))
    assert repr(rebuilt) == repr(error)
    for name in ("filename", "errno", "name", "path", "object", "start", "reason"):
        assert getattr(rebuilt, name, None) == getattr(error, name, None)
    assert Refused.made == made, "no code of the class was called"


def local() -> Exception:
    class Local(Exception):
        pass

    return Local()


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        StopIteration(1),
        GeneratorExit(),
        asyncio.CancelledError(),
        ExceptionGroup("g", [ValueError()]),
        ValueError(object()),
        Made("x"),
        Slotted("x"),
        local(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_rebuilt_becomes_a_task_failed(error: BaseException) -> None:
    assert rebuild(describe_failure(error)) is None


def test_no_module_is_imported_or_asked() -> None:
    """A child may name what it likes."""
    lazy = ModuleType("lazy_module")
    lazy.__getattr__ = lambda name: pytest.fail(f"was asked for {name}")  # type: ignore[method-assign]
    sys.modules["lazy_module"] = lazy
    try:
        assert find_class("lazy_module.Error") is None
    finally:
        del sys.modules["lazy_module"]
    assert "antigravity" not in sys.modules
    assert find_class("antigravity.Error") is None
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("name", ["", ".", "print", "os.system", "object", "json.JSONDecodeError", "?", "a..b"])
def test_names_that_are_no_exception(name: str) -> None:
    assert find_class(name) is None


@pytest.mark.parametrize("arguments", [b"", b"[]", b"[[1],{}]", b'[{"$tuple":[]},{},{"nope":1}]', b"[1,2,3]", b"\xff"])
def test_arguments_that_are_damaged(arguments: bytes) -> None:
    assert rebuild(Failure(type="ValueError", arguments=arguments)) is None


def failed(error: BaseException | None, detail: str | None = "Traceback\n  text\n") -> Outcome[Any]:
    return Outcome.from_record(
        TaskOutcome(
            seq=1, key="k", status=ExecutionStatus.FAILED, attempts=1, error="E: no", detail=detail,
            failure=None if error is None else describe_failure(error),
        )
    )  # fmt: skip


def test_the_remote_traceback_is_the_cause() -> None:
    with pytest.raises(Refused, match="refused with 3") as caught:
        failed(Refused(3, why="late")).value  # noqa: B018
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    shown = "".join(traceback.format_exception(caught.value))
    assert 'RemoteTraceback: \n"""\nTraceback\n  text\n"""\n\nThe above exception was the direct cause' in shown


@pytest.mark.parametrize("error", [None, SystemExit(3)])
def test_a_task_failed_has_the_traceback(error: BaseException | None) -> None:
    outcome = failed(error)
    with pytest.raises(TaskFailed, match="task k failed: E: no") as caught:
        outcome.value  # noqa: B018
    assert caught.value.outcome is outcome
    assert caught.value.traceback == "Traceback\n  text\n"
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert exception_of(failed(error, None)).__cause__ is None


def test_an_interrupted_task() -> None:
    signal = InterruptSignal(reason=InterruptReason.TIMEOUT)
    outcome = TaskOutcome(seq=1, key="k", status=ExecutionStatus.INTERRUPTED, attempts=1, signal=signal)
    error = exception_of(outcome)
    assert isinstance(error, ExecutionInterrupted)
    assert error.signal == signal
