"""Listen on the control socket of a run, in a thread of the supervisor.

*Theory.* The run must not notice its clients. The thread never waits for one: every descriptor is non-blocking, what a
client has not read is bounded (BACKLOG bytes), and then it gets a Gap instead of events; a client that sends nonsense,
or another user's, is hung up on. What a request asks for is handed to the supervisor's loop as a stimulus; nothing is
decided here. A run whose socket cannot be made goes on without one.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from orchestrator.control import address
from orchestrator.control.protocol import (
    MAX_REQUEST,
    VERSION,
    Done,
    Ended,
    Events,
    Gap,
    Refused,
    Reply,
    Request,
    RunRequest,
    SubscribeRequest,
    Welcome,
)
from orchestrator.core.records import RunEvent
from orchestrator.engine.hub import Hub
from orchestrator.engine.wakeup import Wakeup
from runtime.errors import QuiesceError, UsageError, WireError
from runtime.ipc.frames import FrameReader, pack
from runtime.stop_limits import CONTROL_CLOSE_TIMEOUT

CLIENTS: Final = 64
"""Connections at once, at most: another one is refused."""

BACKLOG: Final = 4 * 1024 * 1024
"""Bytes that a client may be behind before events are left out for it."""

BATCH: Final = 1000
"""Events that are sent together, at most."""

EVENT_SIZE: Final = 256
"""Bytes that an event counts beyond its data."""

_CREDENTIALS = struct.Struct("3i")


class Controlled(Protocol):
    """What a server asks of its run. Any thread may call it; none of it blocks. Refusals are UsageErrors."""

    @property
    def run_id(self) -> str:
        """The id of the run."""
        ...

    def answer(self, request: RunRequest) -> Reply:
        """Hand a request to the run, or answer it."""
        ...


class ControlServer:
    """Serve the control socket of one run, from `start` to `close`."""

    def __init__(self, run: Controlled, hub: Hub, location: str | None) -> None:
        self._run = run
        self._hub = hub
        self._location = location
        self._path: str | None = None
        self._inode = 0
        self._listening: socket.socket | None = None
        self._wakeup = Wakeup()
        self._selector = selectors.DefaultSelector()
        self._clients: dict[int, _Client] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="quiesce-control", daemon=True)

    def start(self) -> str:
        """Listen, and return the path of the socket. Raises QuiesceError where that is impossible."""
        folder = address.make_folder()
        path = os.path.join(folder, address.socket_name(self._location, self._run.run_id))
        try:
            _remove_dead(folder)
            self._listening = listening = _listen(path)
            self._inode = os.stat(path).st_ino
            self._path = path
            self._selector.register(listening, selectors.EVENT_READ)
            self._selector.register(self._wakeup.fileno(), selectors.EVENT_READ)
            self._thread.start()
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
            self._release()
            raise QuiesceError(f"no control socket at {path}: {error}") from error
        return path

    def close(self) -> None:
        """Send what clients are owed, for CONTROL_CLOSE_TIMEOUT at most, and remove the socket."""
        if self._thread.ident is not None:
            self._closing = True
            self._wakeup.wake()
            self._thread.join(CONTROL_CLOSE_TIMEOUT)
        else:
            self._release()

    # -- the thread ---------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            until: float | None = None
            while until is None or (time.monotonic() < until and any(map(_Client.is_owed, self._clients.values()))):
                ready = self._selector.select(None if until is None else max(0.0, until - time.monotonic()))
                self._turn(ready)
                if self._closing and until is None:
                    until = time.monotonic() + CONTROL_CLOSE_TIMEOUT / 2
        finally:
            for client in tuple(self._clients.values()):
                self._drop(client)
            self._release()

    def _turn(self, ready: Sequence[tuple[selectors.SelectorKey, int]]) -> None:
        for key, mask in ready:
            client = self._clients.get(key.fd)
            if key.fd == self._wakeup.fileno():
                self._wakeup.reset()
            elif client is None:
                self._accept()
            elif mask & selectors.EVENT_READ:
                self._read(client)
        for client in tuple(self._clients.values()):
            if client.send():
                self._selector.modify(client.socket, client.mask())
            else:
                self._drop(client)

    def _accept(self) -> None:
        assert self._listening is not None
        try:
            connection, _ = self._listening.accept()
        except OSError:  # the client has left; or no descriptor is free, and it waits
            return
        connection.setblocking(False)
        if _peer(connection) not in (os.geteuid(), 0) or len(self._clients) >= CLIENTS or self._closing:
            connection.close()
            return
        client = _Client(connection, self._wakeup.wake)
        client.reply(Welcome(VERSION, self._run.run_id, os.getpid()))
        self._clients[connection.fileno()] = client
        self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, client: _Client) -> None:
        try:
            for request in client.receive():
                client.reply(self._answer(client, request))
        except (OSError, WireError):  # it has left, or sends what is no request
            client.hang_up()

    def _answer(self, client: _Client, request: Request) -> Reply:
        try:
            if isinstance(request, SubscribeRequest):
                client.subscribe(self._hub, request.from_seq)
                return Done()
            return self._run.answer(request)
        except UsageError as error:
            return Refused(str(error))

    def _drop(self, client: _Client) -> None:
        self._clients.pop(client.socket.fileno(), None)
        with suppress(KeyError, ValueError):
            self._selector.unregister(client.socket)
        client.close(self._hub)

    def _release(self) -> None:
        self._selector.close()
        self._wakeup.close()
        if self._listening is not None:
            self._listening.close()
        with suppress(OSError):
            if self._path is not None and os.stat(self._path).st_ino == self._inode:  # else a later supervisor's
                os.unlink(self._path)


class _Client:
    """One connection. Belongs to the server's thread, but for `put` and `close_stream`, which the hub calls."""

    def __init__(self, connection: socket.socket, wake: Callable[[], None]) -> None:
        self.socket = connection
        self._reader: FrameReader[Request] = FrameReader(Request, MAX_REQUEST)
        self._wake = wake
        self._unsent: deque[memoryview] = deque()
        self._size = 0
        self._stream: EventBacklog | None = None
        self._has_left = False

    def is_owed(self) -> bool:
        """Return whether there is something left to send."""
        return bool(self._unsent) or (self._stream is not None and self._stream.has_more())

    def mask(self) -> int:
        """Return what the selector is to wait for."""
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)

    def receive(self) -> list[Request]:
        """Return the requests that have come. Raises WireError for nonsense, OSError when the client has left."""
        try:
            data = self.socket.recv(MAX_REQUEST)
        except BlockingIOError:
            return []
        if not data:
            raise ConnectionResetError
        return list(self._reader.feed(data))

    def reply(self, reply: Reply) -> None:
        """Queue a reply."""
        frame = pack(reply)
        self._unsent.append(memoryview(frame))
        self._size += len(frame)

    def subscribe(self, hub: Hub, from_seq: int | None) -> None:
        """Begin to send events. Raises UsageError for a second time."""
        if self._stream is not None:
            raise UsageError("this connection has subscribed already")
        self._stream = stream = EventBacklog(self._wake, from_seq)
        hub.attach(stream)
        stream.skip_to(hub.next_seq)

    def send(self) -> bool:
        """Send what can be sent at once. Return whether the client is still there and keeps to the bounds."""
        if self._stream is not None and self._size < BACKLOG:
            for reply in self._stream.take():
                self.reply(reply)
        try:
            while self._unsent and not self._has_left:
                sent = self.socket.send(self._unsent[0])
                self._size -= sent
                if sent < len(self._unsent[0]):
                    self._unsent[0] = self._unsent[0][sent:]
                    break
                self._unsent.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._has_left = True
        return not self._has_left and self._size < 2 * BACKLOG + MAX_REQUEST

    def hang_up(self) -> None:
        """Drop the client in this turn."""
        self._has_left = True

    def close(self, hub: Hub) -> None:
        """Close the connection."""
        if self._stream is not None:
            hub.detach(self._stream)
        self.socket.close()


class EventBacklog:
    """The events that wait for one client: at most BACKLOG bytes of them, else a gap. Thread-safe."""

    def __init__(self, wake: Callable[[], None], from_seq: int | None) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._waiting: list[RunEvent] = []
        self._size = 0
        self._next = from_seq
        self._gap = False
        self._has_ended = self._has_said_so = False

    def skip_to(self, seq: int) -> None:
        """Note that what comes before this number is in the journal, and does not come here."""
        with self._lock:
            self._gap = self._next is not None and self._next < seq
            self._next = seq if self._next is None else max(self._next, seq)

    def put(self, events: Sequence[RunEvent]) -> None:
        """Take events that were just committed. Never blocks for long."""
        with self._lock:
            for event in events:
                size = len(event.data) + EVENT_SIZE
                if self._size + size > BACKLOG:
                    self._waiting, self._size = [], 0  # `_next` stays: the next events show the gap
                self._waiting.append(event)
                self._size += size
        self._wake()

    def close(self) -> None:
        """Note that no more events come."""
        with self._lock:
            self._has_ended = True
        self._wake()

    def has_more(self) -> bool:
        """Return whether `take` has something to return."""
        with self._lock:
            return bool(self._waiting) or self._gap or (self._has_ended and not self._has_said_so)

    def take(self) -> list[Reply]:
        """Return what is to be sent now."""
        with self._lock:
            next_seq = self._next or 1
            waiting = [event for event in self._waiting if event.seq >= next_seq]
            self._waiting, self._size = [], 0
            has_gap = self._gap or (bool(waiting) and waiting[0].seq > next_seq)
            first = waiting[0].seq if waiting else next_seq
            self._next, self._gap = (waiting[-1].seq + 1 if waiting else next_seq), False
            is_last = self._has_ended and not self._has_said_so
            self._has_said_so = self._has_ended
        replies: list[Reply] = [Gap(first)] if has_gap else []
        replies += [Events(waiting[at : at + BATCH]) for at in range(0, len(waiting), BATCH)]
        return [*replies, Ended()] if is_last else replies


def _listen(path: str) -> socket.socket:
    """Return a socket that listens at a path, in place of one that a dead supervisor has left. Raises OSError."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    temporary = f"{path}.{os.getpid()}"
    try:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        listening.bind(temporary)
        os.chmod(temporary, 0o600)  # before it listens: until then no client can connect
        listening.listen(CLIENTS)
        os.rename(temporary, path)
    except BaseException:
        listening.close()
        with suppress(OSError):
            os.unlink(temporary)
        raise
    return listening


def _remove_dead(folder: str) -> None:
    """Remove the sockets of supervisors that were killed: no process listens there. At most CLIENTS are looked at."""
    names = [name for name in os.listdir(folder) if name.endswith(".sock")]
    for path in (os.path.join(folder, name) for name in names[:CLIENTS]):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as knocking:
            try:
                knocking.connect(path)
            except ConnectionRefusedError:
                with suppress(OSError):
                    os.unlink(path)
            except OSError:  # it is full, or gone
                pass


def _peer(connection: socket.socket) -> int:
    """Return the user id of the process at the other end; -1 where the host does not tell."""
    try:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except (OSError, AttributeError):
        return -1
    return int(_CREDENTIALS.unpack(credentials)[1])
