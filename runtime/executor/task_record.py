"""Make the record of how a task ended: its result, its interrupt or its error."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
import traceback
from typing import Any, Final

import msgspec

from runtime import agent_signature
from runtime.command.record import CommandFailed, CommandInterrupted
from runtime.errors import ExecutionInterrupted, ResultError, error_text
from runtime.executor.running_task import RunningTask
from runtime.failure import Failure
from runtime.ipc import calls, codec
from runtime.ipc.executor_protocol import TaskDone
from runtime.ipc.failures import describe_failure
from runtime.reasons import escape_surrogates
from runtime.statuses import ExecutionStatus

_PLAIN: Final = frozenset({dict, list, str, int, float, bool, type(None)})
_DETAIL_LIMIT = 20_000  # characters of a traceback that are kept
_OWN_FILES: Final = (os.path.dirname(__file__) + os.sep, agent_signature.__file__, calls.__file__)


def make_completed(running: RunningTask, value: Any) -> TaskDone:
    """Return the record of a task whose agent returned `value`; a failed one if the value cannot be kept."""
    try:
        encoded = _encode_result(value)
    except ResultError as error:
        return _done(running, ExecutionStatus.FAILED, error=f"the result cannot be kept: {error}")
    except BaseException as error:  # noqa: BLE001 - SystemExit out of a __reduce__: the task's, not the executor's
        why = error_text(error) or type(error).__name__
        line = f"the result cannot be kept: {why}"
        return _done(running, ExecutionStatus.FAILED, error=line, detail=_detail(error))
    return _done(running, ExecutionStatus.COMPLETED, encoded)


def make_interrupted(running: RunningTask, interrupted: ExecutionInterrupted, error: BaseException) -> TaskDone:
    """Return the record of a task that was interrupted. `error` is what the agent raised."""
    plain = error is interrupted and isinstance(error.__cause__, asyncio.CancelledError | None)
    detail = None if plain else _detail(error)
    signal = interrupted.plain_signal.model_dump_json().encode()
    kept = codec.encode_for_readers(interrupted.value) if isinstance(interrupted, CommandInterrupted) else None
    return _done(running, ExecutionStatus.INTERRUPTED, kept, error=str(interrupted), detail=detail, signal=signal)


def make_failed(running: RunningTask, error: BaseException) -> TaskDone:
    """Return the record of a task whose agent raised an error; of a call, with the very exception as a pickle."""
    encoded: codec.Encoded | None = None
    if type(error) is calls.CallFailed:
        encoded = None if error.encoded is None else (error.encoded, codec.BLOB, None)
        error = error.error
    text = error_text(error)
    name = escape_surrogates(type(error).__name__)
    line = f"{name}: {text}" if text else name
    failure = describe_failure(error)
    if isinstance(error, CommandFailed):  # its line says all, and its record is kept: what it wrote, what it has used
        encoded = codec.encode_for_readers(error.value)
        failure = msgspec.structs.replace(failure, frame=None, arguments=None)
        return _done(running, ExecutionStatus.FAILED, encoded, error=text, failure=failure)
    return _done(running, ExecutionStatus.FAILED, encoded, error=line, detail=_detail(error), failure=failure)


def _done(
    running: RunningTask,
    status: ExecutionStatus,
    encoded: codec.Encoded | None = None,
    *,
    error: str | None = None,
    detail: str | None = None,
    signal: bytes | None = None,
    failure: Failure | None = None,
) -> TaskDone:
    seconds = time.perf_counter() - running.began
    task = running.order.task
    data, encoding, projection = encoded or (None, "", None)
    began = running.started_at
    return TaskDone(task, status, data, encoding, error, detail, began, seconds, signal, projection, failure)


def _encode_result(value: Any) -> codec.Encoded:
    if type(value) is calls.EncodedValue:
        return value.encoded
    if type(value) not in _PLAIN and (
        inspect.isawaitable(value) or inspect.isgenerator(value) or inspect.isasyncgen(value)
    ):
        if asyncio.iscoroutine(value):
            value.close()
        raise ResultError(
            f"the agent returned a {type(value).__name__}; declare it `async def`, or return a plain value"
        )
    return codec.encode_for_readers(value)


def _detail(error: BaseException) -> str:
    """Return the traceback without the executor's own frames; of a long one the end."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OWN_FILES):
        trace = trace.tb_next
    return escape_surrogates("".join(traceback.format_exception(type(error), error, trace))[-_DETAIL_LIMIT:])
