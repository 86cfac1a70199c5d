"""Calls of functions as tasks: the agent that executes them, and how it hands over exact values and exceptions.

An agent's result is what it returns, and its exception is described by names and plain values. A call is more like a
call in the program itself: its value, and the very exception that it raised, come back as pickles, which only the
program opens, in the thread that asks for them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from runtime.agents import agent
from runtime.errors import ExecutionInterrupted, ResultError
from runtime.ipc import codec

AGENT_NAME: Final = "call"
"""The name of the agent that executes calls, for logs and journals."""

Call = tuple[Callable[..., Any], Sequence[Any], dict[str, Any]]
"""The input of a task: a function, its arguments and its keyword arguments."""


class EncodedValue:
    """Hold a result that is encoded already."""

    __slots__ = ("encoded",)

    def __init__(self, encoded: codec.Encoded) -> None:
        self.encoded = encoded


class CallFailed(Exception):
    """Carry what a call raised, `error`, together with its pickle; None where it cannot be pickled."""

    def __init__(self, error: BaseException, encoded: bytes | None) -> None:
        super().__init__(error)
        self.error = error
        self.encoded = encoded


class CallAgent:
    """Execute calls. `authkey`: the program's, so that its managers and connections accept this process."""

    def __init__(self, authkey: bytes | None = None) -> None:
        self.authkey = authkey

    def __call__(self, task_input: Call) -> EncodedValue:
        """Call the function. Raises CallFailed, and ExecutionInterrupted as it is."""
        function, args, kwargs = task_input
        try:
            value = function(*args, **kwargs)
            try:
                return EncodedValue(codec.encode_for_readers(value))
            except ResultError as error:
                raise error.__cause__ or error from None
        except ExecutionInterrupted:
            raise
        except BaseException as error:  # noqa: BLE001 - sys.exit and the like fail the call
            raise CallFailed(error, _pickle_error(error)) from None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the program's key over, in the executor that has just got the agent."""
        self.__dict__.update(state)
        if self.authkey is not None:
            from multiprocessing import process  # noqa: PLC0415 - an executor without calls does not need it

            process.current_process().authkey = self.authkey


def make_call_agent(initializer: Callable[..., object] | None) -> CallAgent:
    """Return the agent for calls. `initializer` is called once in each executor, before the first call."""
    process = sys.modules.get("multiprocessing.process")
    key = None if process is None else bytes(process.current_process().authkey)
    marked: CallAgent = agent(name=AGENT_NAME, initializer=initializer)(CallAgent(key))
    return marked


def run_chunk(function: Callable[..., Any], calls: Iterable[Sequence[Any]]) -> list[Any]:
    """Call a function once for each of these arguments. Return the values."""
    return [function(*args) for args in calls]


def _pickle_error(error: BaseException) -> bytes | None:
    """Pickle an exception without its traceback, cause and context, as concurrent.futures does."""
    try:
        return codec.encode_blob(error)
    except ResultError:
        return None
