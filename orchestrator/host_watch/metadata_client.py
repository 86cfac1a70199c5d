"""Ask a metadata service by HTTP, within a time limit for the whole answer, however slowly it comes.

*Rejected*: urllib, which follows redirects and asks proxies; the service is on this machine, and a login page that a
redirect leads to says nothing. The timeout of a socket alone, which a service that sends byte by byte never reaches.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from orchestrator.host_watch.notices import Answer, UnusableAnswerError
from runtime.errors import UsageError

LONGEST_ANSWER = 256 << 10
"""Bytes of an answer that are read. A longer one is none of these services'."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service is. `prefix` is what paths begin with."""

    host: str
    port: int
    prefix: str = ""

    @property
    def url(self) -> str:
        """The address, for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.prefix}"


def parse_endpoint(text: str, variable: str) -> Endpoint:
    """Return the endpoint that a URL or `HOST:PORT` names. Raises UsageError, which names the variable it is from."""
    wrong = UsageError(f"{variable} = {text!r}: give the address of a metadata service, like http://127.0.0.1:8080")
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port or 80
    except ValueError:
        raise wrong from None
    if not parts.hostname or parts.scheme != "http":
        raise wrong
    return Endpoint(parts.hostname, port, parts.path.rstrip("/"))


class MetadataClient:
    """Send requests to one endpoint, one at a time. `close`, from any thread, ends the one that is waited for."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._socket: socket.socket | None = None
        self._is_closed = False

    def ask(self, method: str, path: str, headers: Mapping[str, str], seconds: float) -> Answer:
        """Return the answer. Raises OSError, also if it takes longer, and UnusableAnswerError for what is not HTTP."""
        until = time.monotonic() + seconds
        endpoint = self._endpoint
        with socket.create_connection((endpoint.host, endpoint.port), seconds) as connection:
            self._socket = connection
            if self._is_closed:
                raise OSError("the watcher is closed")
            try:
                return self._exchange(connection, until, method, path, headers)
            except (http.client.HTTPException, ValueError) as error:
                raise UnusableAnswerError(f"{method} {path}: {type(error).__name__}: {error}"[:200]) from None
            finally:
                self._socket = None

    def _exchange(
        self, connection: socket.socket, until: float, method: str, path: str, headers: Mapping[str, str]
    ) -> Answer:
        endpoint = self._endpoint
        exchange = http.client.HTTPConnection(endpoint.host, endpoint.port)
        exchange.sock = _TimedSocket(connection, until)
        exchange.request(method, endpoint.prefix + path, headers={**headers, "Connection": "close"})
        with exchange.getresponse() as response:
            body = response.read(LONGEST_ANSWER + 1)
            if len(body) > LONGEST_ANSWER:
                raise UnusableAnswerError(f"{path}: the answer is longer than {LONGEST_ANSWER} bytes")
            if response.length:  # read(amount) gives what came before the connection was lost
                raise UnusableAnswerError(f"{path}: the answer was cut off")
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)

    def close(self) -> None:
        """End the request that is under way, and all later ones."""
        self._is_closed = True
        connection = self._socket
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _TimedSocket:
    """What http.client needs of a socket, with one time limit for everything."""

    def __init__(self, connection: socket.socket, until: float) -> None:
        self._connection = connection
        self._until = until

    def sendall(self, data: bytes) -> None:
        self._connection.settimeout(_left(self._until))
        self._connection.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._connection, self._until))

    def close(self) -> None:
        """Do nothing: the caller closes the connection."""


class _TimedReader(io.RawIOBase):
    def __init__(self, connection: socket.socket, until: float) -> None:
        super().__init__()
        self._connection = connection
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        self._connection.settimeout(_left(self._until))
        return self._connection.recv_into(buffer)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("the answer took too long")
    return left
