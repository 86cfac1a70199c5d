"""Describe an exception in the process that raised it. Never fails, whatever the exception's class does."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from runtime.errors import RetryLater
from runtime.failure import LONGEST_NAME, Failure, class_name
from runtime.ipc.plain_values import encode_plain
from runtime.reasons import escape_surrogates
from runtime.user_frames import Frame, select_user_frames

MAX_FRAMES = 1000
"""Frames of a traceback that are looked at, the innermost ones."""


def describe_failure(error: BaseException) -> Failure:
    """Return the description of an exception."""
    kind = type(error)
    above = [base for base in type.__dict__["__mro__"].__get__(kind)[1:] if base is not object]
    frames = select_user_frames(_frames(error.__traceback__))
    return Failure(
        type=class_name(kind),
        bases=list(map(class_name, above)),
        frame=frames[-1] if frames else None,
        arguments=_arguments(error),
        retry_after=error.seconds if isinstance(error, RetryLater) else None,
    )


def _frames(trace: TracebackType | None) -> list[Frame]:
    frames: list[Frame] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        file, function = escape_surrogates(code.co_filename), escape_surrogates(code.co_name)
        frames.append(Frame(file[:LONGEST_NAME], trace.tb_lineno or 0, function[:LONGEST_NAME]))
        trace = trace.tb_next
    return frames[-MAX_FRAMES:]


def _arguments(error: BaseException) -> bytes | None:
    """Return `args`, the attributes, and the members of built-in classes, of an exception as one plain value."""
    try:
        attributes: Any = dict(object.__getattribute__(error, "__dict__"))
        args: Any = BaseException.args.__get__(error)  # type: ignore[attr-defined]  # not a property of its class
        members: dict[str, Any] = {}
        if isinstance(error, OSError):
            args = OSError.__reduce__(error)[1]  # with the names of files, which `args` lacks
        elif isinstance(error, ImportError):
            of_imports = vars(ImportError)
            members = {name: of_imports[name].__get__(error) for name in ("name", "path")}
    except Exception:  # noqa: BLE001 - a class without a dictionary, a broken descriptor
        return None
    text = encode_plain((args, attributes, members))
    return None if text is None else text.encode()
