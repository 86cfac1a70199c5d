"""Choose the frame of a traceback that a user wants to see first: the innermost one in code of the user's own. Pure.

Code of the user's own is what lies neither in a Python's library folder (the standard library, installed packages)
nor in this project's packages. Where the agent itself is an installed package, that package counts as the user's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

_LIBRARY: Final = re.compile(
    r"^<frozen |[/\\](?:lib|lib64|Lib)[/\\]python\d(?:\.\d+)?[/\\]|[/\\](?:site|dist)-packages[/\\]"
)
_PACKAGE: Final = re.compile(r"^(.*[/\\](?:site|dist)-packages[/\\][^/\\]+)")
_HOME: Final = __file__.rpartition("/")[0].rpartition("/")[0]
OUR_FOLDERS: Final = tuple(f"{_HOME}/{name}/" for name in ("runtime", "orchestrator", "quiesce"))

_FRAME: Final = re.compile(r'^[ |+]*File "(.+)", line (\d+)(?:, in (.+))?$', re.MULTILINE)
_BEGIN: Final = re.compile(r"^[ |+]*Traceback \(most recent call last\):$", re.MULTILINE)


class Frame(msgspec.Struct, frozen=True):
    """A place in a traceback: file, line from 1, and the name of the function."""

    file: str
    line: int
    function: str


def frames_in_text(traceback_text: str) -> list[Frame]:
    """Return the frames of the last traceback in a text, outermost first: that of the exception itself."""
    begins = [match.end() for match in _BEGIN.finditer(traceback_text)]
    last = traceback_text[begins[-1] :] if begins else traceback_text  # the beginning of a long one was cut off
    return [Frame(match[1], int(match[2]), match[3] or "<module>") for match in _FRAME.finditer(last)]


def select_user_frames(frames: Sequence[Frame]) -> list[Frame]:
    """Return the frames in the user's own code, outermost first; the last one of all where there are none."""
    ours = [frame for frame in frames if not frame.file.startswith(OUR_FOLDERS)]
    own = list(_without_libraries(ours))
    return own or ours[-1:] or list(frames[-1:])


def _without_libraries(frames: Sequence[Frame]) -> Iterator[Frame]:
    package = next((match[1] for frame in frames[:1] if (match := _PACKAGE.match(frame.file))), None)
    for frame in frames:
        if not _LIBRARY.search(frame.file) or (package is not None and frame.file.startswith(package)):
            yield frame
