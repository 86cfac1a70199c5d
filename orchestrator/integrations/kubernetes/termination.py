"""Write the termination message, which `kubectl describe pod` shows for a container that has ended.

A kubelet creates the file, reads at most 4 KiB of it and cuts longer text anywhere; so the text is cut here, at the end
of a character. A provisional message is written when a stop begins, in case SIGKILL comes before the end. No function
raises, and only `flush` waits, with a limit: a disk that is full or does not answer must not change how a run ends.
"""

from __future__ import annotations

import os

from orchestrator.background import Background
from orchestrator.core.status import Phase, StatusView
from runtime.stop_limits import OUTPUT_TIMEOUT
from runtime.text import printable_lines, single_line

DEFAULT_PATH = "/dev/termination-log"
"""File that a kubelet reads by default (terminationMessagePath)."""

LIMIT = 4096
"""Bytes that a kubelet reads (12 KiB is the limit for all containers of a Pod together)."""

REASON_LENGTH = 500
"""Most characters of the reason for a stop, so that the command that resumes the run is not cut off."""

_ELLIPSIS = "…\n".encode()


class TerminationMessage:
    """Termination message of this process, and an observer that writes the provisional one.

    `path` None: DEFAULT_PATH if a kubelet has created it, else nothing is written.
    """

    def __init__(self, path: str | None = None) -> None:
        self._path = os.path.abspath(path) if path else (DEFAULT_PATH if os.path.exists(DEFAULT_PATH) else None)
        self._provisional = False
        self._background = Background("quiesce-termination", self._write_last)
        self.problem: str | None = None

    def __call__(self, view: StatusView) -> None:
        """Write the provisional message once, when a stop begins (as an observer)."""
        if view.phase is Phase.STOPPING and not self._provisional:
            self._provisional = True
            self.write(stopping_message(view))

    def write(self, text: str) -> None:
        """Queue text that replaces the content of the file. `problem` says in one line what went wrong."""
        if self._path is not None:
            data = fit(text)
            self._background.put(data, len(data))

    def flush(self) -> None:
        """Wait until the text is written, at most OUTPUT_TIMEOUT seconds; after that, set `problem`."""
        if not self._background.flush(limit=OUTPUT_TIMEOUT):
            self.problem = f"cannot write the termination message {self._path}: it does not answer"

    def _write_last(self, texts: list[bytes]) -> None:
        """Write the last of the queued texts (on the background thread)."""
        assert self._path is not None
        try:
            _replace(self._path, texts[-1])
        except OSError as error:
            self.problem = f"cannot write the termination message {self._path}: {error.strerror or error}"


def stopping_message(view: StatusView) -> str:
    """Return the provisional message, from what is known when a stop begins."""
    reason = ""
    if view.signal is not None:
        reason = f" ({single_line(view.signal.message or view.signal.reason.value, REASON_LENGTH)})"
    counts = f"{view.completed} completed, {view.failed} failed, {view.left} left"
    return f"stopping{reason}: {counts}; the run was killed before it wrote how it ended"


def fit(text: str) -> bytes:
    """Return text as at most LIMIT bytes of UTF-8 without control characters; an ellipsis marks a cut."""
    data = (printable_lines(text.rstrip("\n")) + "\n").encode("utf-8", "backslashreplace")
    if len(data) <= LIMIT:
        return data
    kept = data[: LIMIT - len(_ELLIPSIS)]
    return kept.decode("utf-8", "ignore").encode() + _ELLIPSIS


def _replace(path: str, data: bytes) -> None:
    """Replace the content in place: the file is a bind mount, so no file can be renamed onto it.

    O_NONBLOCK: never wait for the reader of a FIFO.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
