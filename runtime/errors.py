"""The exceptions of this project. A leaf, beside model."""

from __future__ import annotations

from runtime.model import InterruptReason, InterruptSignal


class QuiesceError(Exception):
    """Base of every error that this project raises at a caller. Its text is one clear line."""


class UsageError(QuiesceError):
    """The user asked for something that cannot be done as asked. The command line ends with 2."""


class WireError(QuiesceError):
    """Bytes on a pipe are not a frame of this version. It costs the executor that sent them."""


class ResultError(QuiesceError):
    """A result cannot travel: it is neither JSON-able nor picklable. It fails its own task only."""


class ExecutionInterrupted(BaseException):
    """Raised at a checkpoint once the interrupt flag is up.

    A BaseException on purpose, like KeyboardInterrupt and asyncio.CancelledError: `except Exception`,
    retry code and error strategies must never swallow it.
    """

    def __init__(self, signal: InterruptSignal) -> None:
        super().__init__(signal)
        self.signal = signal

    @property
    def reason(self) -> InterruptReason:
        """Why."""
        return self.signal.reason

    @property
    def message(self) -> str:
        """The sentence that whoever interrupted gave, possibly empty."""
        return self.signal.message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}" if self.message else str(self.reason)
