"""Say in one line what went wrong in code of the user's, and where."""

from __future__ import annotations

import traceback

from runtime.errors import error_text
from runtime.user_frames import Frame, select_user_frames

_OURS = ("runtime/executor/loader.py", "runtime/ipc/main_module.py", "runtime/execution/lifespans.py")
"""Files that call the user's code. Their frames do not help the user."""

_SHOWN_FRAMES = 4
"""Frames of the user's files in the line, at most."""


def describe_error(error: BaseException) -> str:
    """Return an exception on one line, with the frames of the user's files that led to it, the innermost one last."""
    text = error_text(error, 300)
    frames = [
        Frame(frame.filename, frame.lineno or 0, frame.name)
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and not frame.filename.endswith(_OURS)
    ]
    places = [_place(frame) for frame in select_user_frames(frames)]
    if len(places) > _SHOWN_FRAMES:
        places = [places[0], "…", *places[1 - _SHOWN_FRAMES :]]
    where = f" ({', '.join(places)})" if places else ""
    return f"{type(error).__name__}: {text}{where}" if text else f"{type(error).__name__}{where}"


def _place(frame: Frame) -> str:
    function = "" if frame.function == "<module>" else f" in {frame.function}"
    return f"{frame.file}:{frame.line}{function}"
