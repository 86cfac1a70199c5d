"""The termination message: what `kubectl describe pod` shows of a container that has ended.

A kubelet makes the file, reads at most 4 KiB of it, and cuts what is longer without asking; so it is cut here, at the
end of a character. A provisional word is written when a stop begins: should SIGKILL come before the end, that is what
is known. Nothing here raises, and nobody waits but `flush`, which has a limit: neither a full disk nor one that hangs
may change how a run ends.
"""

from __future__ import annotations

import os

from orchestrator.background import PATIENCE, Background
from orchestrator.core.status import Phase, StatusView
from runtime.text import printable_lines, single_line

DEFAULT_PATH = "/dev/termination-log"
"""Where a kubelet looks if the Pod's specification does not say otherwise."""

LIMIT = 4096
"""Bytes that a kubelet reads (12 KiB is the limit for all containers of a Pod together)."""

WHY = 500
"""Characters of the reason for a stop: what is said beside it, how to go on, must not be cut off."""

_ELLIPSIS = "…\n".encode()


class TerminationMessage:
    """The file. Nothing is written before `choose` has said that there is to be one."""

    def __init__(self) -> None:
        self._path: str | None = None
        self._provisional = False
        self._background = Background("quiesce-termination", self._write_last)
        self.problem: str | None = None

    def set_path(self, path: str | None) -> None:
        """Write there. None: to DEFAULT_PATH, if somebody has made it."""
        self._path = os.path.abspath(path) if path else (DEFAULT_PATH if os.path.exists(DEFAULT_PATH) else None)

    def __call__(self, view: StatusView) -> None:
        """The Observer: when a stop begins, say so once."""
        if view.phase is Phase.STOPPING and not self._provisional:
            self._provisional = True
            self.write(stopping_message(view))

    def write(self, text: str) -> None:
        """Replace what the file says, soon. What goes wrong is kept in `problem`, in one line."""
        if self._path is not None:
            data = fit(text)
            self._background.put(data, len(data))

    def flush(self) -> None:
        """Wait until it is written, PATIENCE seconds at most: then a `problem` it is."""
        if not self._background.flush(limit=PATIENCE):
            self.problem = f"cannot write the termination message {self._path}: it does not answer"

    def _write_last(self, texts: list[bytes]) -> None:
        """On the thread. What was to be there for a moment only is not written."""
        assert self._path is not None
        try:
            _replace(self._path, texts[-1])
        except OSError as error:
            self.problem = f"cannot write the termination message {self._path}: {error.strerror or error}"


def stopping_message(view: StatusView) -> str:
    """What is known when a stop begins."""
    why = "" if view.signal is None else f" ({single_line(view.signal.message or view.signal.reason.value, WHY)})"
    left = view.accepted - view.completed - view.failed
    return f"stopping{why}: {view.completed} completed, {view.failed} failed, {left} left; no later word was written"


def fit(text: str) -> bytes:
    """At most LIMIT bytes of UTF-8 without control characters, with a sign where something was cut off."""
    data = (printable_lines(text.rstrip("\n")) + "\n").encode("utf-8", "backslashreplace")
    if len(data) <= LIMIT:
        return data
    kept = data[: LIMIT - len(_ELLIPSIS)]
    return kept.decode("utf-8", "ignore").encode() + _ELLIPSIS


def _replace(path: str, data: bytes) -> None:
    """In place: the file is a bind mount, which no other file can be renamed onto. Never waits for a FIFO's reader."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
