"""The exceptions of this project. A leaf, beside model."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from runtime.interrupt_signal import as_signal
from runtime.limits import check_seconds
from runtime.plain_signal import PlainSignal, public
from runtime.reasons import InterruptReason, escape_surrogates

if TYPE_CHECKING:
    from runtime.model import InterruptSignal

E = TypeVar("E", bound=BaseException)


class QuiesceError(Exception):
    """Base of every error that this project raises at a caller. Its text is one clear line."""


def error_text(error: BaseException, limit: int = 1000) -> str:
    """Return an exception's message on one line of at most `limit` characters; empty if its `__str__` fails."""
    try:
        return escape_surrogates(" ".join(str(error).split())[:limit])
    except (Exception, SystemExit, KeyboardInterrupt, GeneratorExit):  # noqa: BLE001 - `__str__` is the agent's code
        return ""


class RetryLater(Exception):
    """Raise this in a task to have it tried again after `seconds`, as a server asks by Retry-After.

    The attempt does not count as one of the task's retries. After 100 times in one start of the run it does. `message`
    is for the log. Raises ValueError unless `seconds` is from 0 to ten years.
    """

    def __init__(self, seconds: float, message: str = "") -> None:
        check_seconds("seconds", seconds)
        super().__init__(seconds, message)
        self.seconds = float(seconds)
        self.message = message

    def __str__(self) -> str:
        return f"again in {self.seconds:g} s" + (f": {self.message}" if self.message else "")


class UsageError(QuiesceError):
    """The user asked for something that cannot be done as asked. The command line ends with 2."""


class WireError(QuiesceError):
    """Bytes on a pipe are not a frame of this version. It costs the executor that sent them."""


class ResultError(QuiesceError):
    """A result cannot travel: it is neither JSON-able nor picklable. It fails its own task only."""


class DecodeError(QuiesceError):
    """Encoded bytes are no value in this process: what it is of cannot be imported here, or its own code fails."""

    def __init__(self, type_name: str, reason: str, whose: str = "a value") -> None:
        super().__init__(f"{whose} cannot be read here: it is of type {type_name} ({reason})")
        self.type_name = type_name
        self.reason = reason


class CircuitOpenError(QuiesceError):
    """A circuit breaker is open: the attempt was not made."""


class ChildCancelledError(QuiesceError):
    """A child of a parallel group was cancelled from outside of the group."""


class ExecutionInterrupted(BaseException):
    """Raised at a checkpoint once the interrupt flag is up.

    A BaseException on purpose, like KeyboardInterrupt and asyncio.CancelledError: `except Exception`,
    retry code and error strategies must never swallow it.
    """

    def __init__(self, signal: InterruptSignal) -> None:
        super().__init__(signal)
        self.plain_signal: PlainSignal = as_signal(signal)
        """The signal as the machinery carries it."""

    @property
    def signal(self) -> InterruptSignal:
        """Return the signal that interrupted: why, when and by whom."""
        return public(self.plain_signal)

    @property
    def reason(self) -> InterruptReason:
        """Return the reason of the interrupt."""
        return self.plain_signal.reason

    @property
    def message(self) -> str:
        """Return the message that came with the request to stop, possibly empty."""
        return self.plain_signal.message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}" if self.message else str(self.reason)


def find_interrupt(error: BaseException) -> ExecutionInterrupted | None:
    """Return the interrupt behind an exception: itself, inside an exception group, or hidden by a failing clean-up."""
    return find_in_chain(error, ExecutionInterrupted)


def find_in_chain(error: BaseException, kind: type[E]) -> E | None:
    """Return the exception of a kind behind another: itself, in a group, or in its chain (`from None` included)."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        candidate = todo.pop()
        if candidate is None or id(candidate) in seen:
            continue
        seen.add(id(candidate))
        if isinstance(candidate, kind):
            return candidate
        if isinstance(candidate, BaseExceptionGroup):
            todo.extend(candidate.exceptions)
        todo.extend((candidate.__cause__, candidate.__context__))
    return None
