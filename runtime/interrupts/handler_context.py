"""Tell whether the running code was called by a Python signal handler.

Such code runs between two arbitrary bytecodes of the main thread: in the middle of a write to a stream, of a lock's
acquisition, of a subscriber. Setting a flag is safe there; calling a program's subscribers is not (loguru#390,
gunicorn#3198, "reentrant call inside BufferedWriter").

Theory. CPython has no question for it, but a handler is called as `handler(signum, frame)`, where `frame` is the frame
that it interrupted, which is also the caller's frame of the handler's own (Modules/signalmodule.c,
`_PyErr_CheckSignalsTstate`). No ordinary call passes its caller's frame.
"""

from __future__ import annotations

import sys
from types import FrameType

from runtime.native import MAIN_THREAD, get_ident

CO_VARARGS = 0x04
"""Set in the `co_flags` of a function that takes `*args`: `inspect.CO_VARARGS`, without its import."""


def is_in_signal_handler() -> bool:
    """Whether some caller of this function is a signal handler. Only ever in the main thread."""
    if get_ident() != MAIN_THREAD:
        return False
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - inspect.currentframe, without its import
    while frame is not None and frame.f_back is not None:
        if _has_argument(frame, frame.f_back):
            return True
        frame = frame.f_back
    return False


def _has_argument(frame: FrameType, value: FrameType) -> bool:
    """Return whether `value` was passed by position, as one of two or more. Reading `f_locals` is the expense."""
    code = frame.f_code
    has_rest = bool(code.co_flags & CO_VARARGS)
    if code.co_argcount < 2 and not has_rest:
        return False
    values = frame.f_locals
    if any(values.get(name) is value for name in code.co_varnames[: code.co_argcount]):
        return True
    rest = values.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount]) if has_rest else None
    return type(rest) is tuple and any(item is value for item in rest)
