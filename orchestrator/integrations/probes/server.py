"""Serve /livez, /readyz, /startupz and /metrics to a kubelet and to Prometheus, on threads.

The supervision loop passes each view to this module (an observer: one assignment that never waits); requests are
answered from the latest view. A stop must not wait for a client, and a silent client must not block the server:
- a connection lasts at most CONNECTION_TIMEOUT, and at most CONNECTIONS are open: a new one ends the oldest;
- all threads are daemons, and `close` waits for them at most PROBES_CLOSE_TIMEOUT.
"""

from __future__ import annotations

import http
import importlib
import os
import selectors
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

from orchestrator.core.status import StatusView
from orchestrator.integrations.probes.health import Answer, Health
from runtime.errors import UsageError
from runtime.stop_limits import PROBES_CLOSE_TIMEOUT

EVERYWHERE = "*"
"""The address that means every interface, IPv6 and IPv4."""

CONNECTION_TIMEOUT = 3.0
"""Seconds that one connection may take, from its first byte to its last."""

CONNECTIONS = 32
"""Most connections that are open at once; another one ends the oldest."""

FULL_PAUSE = 0.1
"""Seconds until the next attempt to accept a connection when no descriptor is left for it."""

NO_METRICS = "metrics need the package prometheus-client: pip install 'quiesce[metrics]'"

Page = tuple[http.HTTPStatus, str, bytes]
"""Status, content type, body."""

Renderer = Callable[[Health], Page]

_TEXT = "text/plain; charset=utf-8"


class Probes:
    """Server of the probes. It listens from its creation on, so that a port in use is known before the run begins."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self.health = Health(time.monotonic())
        self._run_id = ""
        self._render: Renderer | None = None
        self._loading = threading.Lock()
        self._server = _Server(_listen(address, port), self._page)
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="quiesce-probes", daemon=True)
        self._judges = {"/livez": Health.live, "/readyz": Health.ready, "/startupz": Health.startup}

    def __call__(self, view: StatusView) -> None:
        """Take the latest view of the run (as an observer)."""
        self.health = self.health.seen(view)

    @property
    def port(self) -> int:
        """The port that the server listens on; useful when port 0 was requested."""
        return int(self._server.socket.getsockname()[1])

    def start(self, run_id: str = "") -> None:
        """Begin to answer; the metrics carry the run's id. Raises UsageError when no thread can be started."""
        self._run_id = run_id
        try:
            self._thread.start()
        except RuntimeError as error:  # a limit, or a sandbox
            raise UsageError(f"cannot start a thread for the probes: {error}") from error

    def close(self) -> None:
        """End the server and its connections. Waits at most PROBES_CLOSE_TIMEOUT."""
        end = time.monotonic() + PROBES_CLOSE_TIMEOUT
        os.close(self._wake_write)
        if self._thread.ident is not None:
            self._thread.join(PROBES_CLOSE_TIMEOUT)
        self._server.server_close()
        self._server.drop_all(end)
        os.close(self._wake_read)

    # -- the thread ---------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Serve until `close`. Unlike `serve_forever`, do not poll for the end, and drop slow clients."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._server.socket, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while not any(key.fd == self._wake_read for key, _ in selector.select(self._server.next_timeout())):
                self._server.handle_request()
                self._server.drop_late()

    # -- the pages ----------------------------------------------------------------------------------

    def _page(self, path: str) -> Page:
        if path == "/metrics":
            return self._metrics()
        judge = self._judges.get(path)
        if judge is None:
            paths = ", ".join((*self._judges, "/metrics"))
            return http.HTTPStatus.NOT_FOUND, _TEXT, f"no such path; there are {paths}\n".encode()
        answer: Answer = judge(self.health, time.monotonic())
        status = http.HTTPStatus.OK if answer.ok else http.HTTPStatus.SERVICE_UNAVAILABLE
        return status, _TEXT, f"{answer.reason}\n".encode()

    def _metrics(self) -> Page:
        with self._loading:  # loaded at the first scrape: a run that is never scraped does not pay for it
            self._render = self._render or _renderer(self._run_id)
        return self._render(self.health)


def _renderer(run_id: str) -> Renderer:
    try:
        metrics = importlib.import_module("orchestrator.integrations.probes.metrics").Metrics(run_id)
    except ImportError:
        return lambda _: (http.HTTPStatus.NOT_IMPLEMENTED, _TEXT, f"{NO_METRICS}\n".encode())
    return lambda health: (http.HTTPStatus.OK, *metrics.render(health))


def _listen(address: str, port: int) -> socket.socket:
    """Return a listening socket. Raises UsageError when the address cannot be used."""
    try:
        if address == EVERYWHERE:
            if socket.has_dualstack_ipv6():
                return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
            return socket.create_server(("", port))
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, port), family=family)
    except (OSError, OverflowError) as error:
        code = getattr(error, "errno", None) or 0  # negative: a name that is not known
        reason = os.strerror(code) if code > 0 else getattr(error, "strerror", None) or str(error)
        reason = reason.partition(" (while attempting")[0]  # create_server repeats the address
        raise UsageError(f"cannot serve the probes on {address} port {port}: {reason}") from None


class _Server(socketserver.ThreadingTCPServer):
    """TCP server with a thread for each connection, and limits on their number and their duration."""

    daemon_threads = True
    block_on_close = False  # it would wait without a limit; `drop_all` has one

    def __init__(self, listening: socket.socket, page: Callable[[str], Page]) -> None:
        super().__init__(listening.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        listening.setblocking(False)
        self.timeout = 0.0  # handle_request never waits
        self.page = page
        self._open: dict[socket.socket, float] = {}
        self._changed = threading.Condition()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection. If no descriptor is free it stays in the queue, so pause before the next attempt."""
        try:
            return super().get_request()
        except BlockingIOError:
            raise
        except OSError:
            time.sleep(FULL_PAUSE)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Register a new connection, and end the oldest ones beyond CONNECTIONS."""
        with self._changed:
            self._open[request] = time.monotonic() + CONNECTION_TIMEOUT
            late = list(self._open)[:-CONNECTIONS]
        for connection in late:
            _shut_down(connection)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Unregister a connection that has ended."""
        super().shutdown_request(request)
        with self._changed:
            self._open.pop(request, None)
            self._changed.notify_all()

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """Ignore the error of a client that went away."""

    def next_timeout(self) -> float | None:
        """Return the seconds until the next connection times out; None if there is none."""
        with self._changed:
            first = min(self._open.values(), default=None)
        return None if first is None else max(0.0, first - time.monotonic())

    def drop_late(self) -> None:
        """End the connections that have timed out."""
        now = time.monotonic()
        with self._changed:
            late = [connection for connection, end in self._open.items() if end <= now]
            for connection in late:
                self._open[connection] = now + CONNECTION_TIMEOUT  # no busy loop until its thread notices
        for connection in late:
            _shut_down(connection)

    def drop_all(self, until: float) -> None:
        """End all connections and wait for their threads, until `until` (monotonic) at most."""
        with self._changed:
            for connection in self._open:
                _shut_down(connection)
            self._changed.wait_for(lambda: not self._open, max(0.0, until - time.monotonic()))


def _shut_down(connection: socket.socket) -> None:
    """End a connection for the thread that reads or writes it. That thread closes it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """Handler of GET and HEAD, one request a connection."""

    server: _Server
    server_version = "quiesce"
    sys_version = ""
    timeout = CONNECTION_TIMEOUT
    error_content_type = _TEXT
    error_message_format = "%(code)d %(message)s\n"

    def do_GET(self) -> None:
        """Answer with the page."""
        status, content_type, body = self.server.page(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - http.server finds the method by this name

    def _refuse(self) -> None:
        """Refuse a method that would change something."""
        self.send_response(http.HTTPStatus.METHOD_NOT_ALLOWED)
        self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Log nothing: probes come every few seconds."""
