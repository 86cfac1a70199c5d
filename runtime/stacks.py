"""The Python stacks of all threads of this process, as text.

Theory. Reading the frames of another thread is safe only with the GIL. faulthandler's handler of a signal does not have
it: with `all_threads` it walks frames that their threads push and pop at the same time, and crashes the process (within
seconds, of threads that call functions and start threads). `faulthandler.dump_traceback` has the GIL, but walks the
list of threads without its lock: a thread of C code may be entering it. `sys._current_frames` has both.

No source lines: to read files, and to ask modules for their source, is too much for a signal handler.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import FrameType

from runtime.native import get_ident
from runtime.text import printable

MAX_DEPTH = 100
"""Frames that are shown of one thread."""


def format_stacks(current: FrameType | None) -> str:
    """Return the stack of every thread, the calling thread's from the frame `current`; without it if that is None."""
    frames = sys._current_frames()  # noqa: SLF001 - the way to get them
    if current is None:
        del frames[get_ident()]
    else:
        frames[get_ident()] = current
    return "\n\n".join("\n".join(_lines(ident, frame)) for ident, frame in frames.items())


def _lines(ident: int, frame: FrameType | None) -> Iterator[str]:
    thread = threading._active.get(ident)  # type: ignore[attr-defined]  # noqa: SLF001 - without its lock: see above
    name = f" [{printable(thread.name)}]" if thread is not None else ""
    yield f"Thread 0x{ident:016x}{name} (most recent call first):"
    for _ in range(MAX_DEPTH):
        if frame is None:
            return
        yield f'  File "{printable(frame.f_code.co_filename)}", line {frame.f_lineno} in {frame.f_code.co_name}'
        frame = frame.f_back
    yield "  ..."
