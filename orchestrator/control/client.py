"""Talk to a living run through its control socket. Blocking calls, each bounded by a timeout."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, Self

from orchestrator.control import address
from orchestrator.control.protocol import (
    MAX_REPLY,
    VERSION,
    Done,
    Ended,
    Events,
    Gap,
    LimitsReply,
    Refused,
    Reply,
    Request,
    StatusReply,
    SubscribeRequest,
    Welcome,
)
from runtime.errors import QuiesceError, UsageError, WireError
from runtime.ipc.frames import FrameReader, pack

TIMEOUT: Final = 2.0
"""Seconds that a supervisor has to answer, or that a client waits for a connection."""


class ControlClient:
    """A connection to a run's supervisor. Close it, or use it as a context manager."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._reader: FrameReader[Reply] = FrameReader(Reply, MAX_REPLY)
        self._replies: deque[Reply] = deque()
        self._events: deque[Events | Gap | Ended] = deque()
        welcome = self._receive(time.monotonic() + TIMEOUT)
        if not isinstance(welcome, Welcome) or welcome.version != VERSION:
            raise QuiesceError("the supervisor speaks another version of the control protocol")
        self.welcome = welcome

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def ask(self, request: Request, timeout: float = TIMEOUT) -> Done | StatusReply | LimitsReply:
        """Send a request and return its reply. Raises UsageError for a refusal, QuiesceError without an answer."""
        until = time.monotonic() + timeout
        try:
            self._socket.settimeout(timeout)
            self._socket.sendall(pack(request))
        except OSError as error:
            raise QuiesceError(f"the supervisor is gone: {error}") from error
        while True:
            reply = self._receive(until)
            if isinstance(reply, Refused):
                raise UsageError(reply.problem)
            if isinstance(reply, Done | StatusReply | LimitsReply):
                return reply

    def subscribe(self, from_seq: int | None = None) -> None:
        """Have events sent from now on, which `next` returns. `from_seq`: see SubscribeRequest."""
        self.ask(SubscribeRequest(from_seq))

    def next(self, timeout: float | None = None) -> Events | Gap | Ended | None:
        """Return what comes next of the subscription; None if nothing does in `timeout` seconds.

        Raises QuiesceError when the supervisor is gone.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while not self._events:
            try:
                self._read(until)
            except TimeoutError:
                return None
        return self._events.popleft()

    def __iter__(self) -> Iterator[Events | Gap]:
        """Iterate over the subscription until the run's stream has ended or the supervisor is gone."""
        with suppress(QuiesceError):
            while isinstance(reply := self.next(), Events | Gap):
                yield reply

    def _receive(self, until: float) -> Reply:
        """Return the next reply, at `until` (monotonic seconds) at the latest."""
        while not self._replies:
            try:
                self._read(until)
            except TimeoutError:
                raise QuiesceError("the supervisor does not answer") from None
        return self._replies.popleft()

    def _read(self, until: float | None) -> None:
        """Read what has come. Raises TimeoutError, or QuiesceError when the supervisor is gone."""
        try:
            self._socket.settimeout(None if until is None else max(0.001, until - time.monotonic()))
            data = self._socket.recv(1 << 16)
            received = list(self._reader.feed(data))
        except TimeoutError:
            raise
        except (OSError, WireError) as error:
            raise QuiesceError(f"the connection to the supervisor failed: {error}") from error
        if not data:
            raise QuiesceError("the supervisor has closed the connection")
        for reply in received:
            if isinstance(reply, Events | Gap | Ended):
                self._events.append(reply)
            else:
                self._replies.append(reply)


def connect(location: str | None, run_id: str) -> ControlClient | None:
    """Return a connection to the supervisor of a run; None if there is no socket that answers.

    `location`: the place of its journal, None for a run without one.
    """
    for path in address.find_sockets(location, run_id):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(TIMEOUT)
            connection.connect(path)
            client = ControlClient(connection)
        except (OSError, QuiesceError):  # a dead supervisor's socket, or one that does not answer
            connection.close()
            continue
        if client.welcome.run_id == run_id:
            return client
        client.close()
    return None
