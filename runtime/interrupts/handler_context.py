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
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)
    if not count:
        return False
    values = frame.f_locals
    for name in code.co_varnames[:count]:
        argument = values.get(name)
        if argument is value or (type(argument) is tuple and any(item is value for item in argument)):
            return True
    return False
