"""The metadata services of three clouds, on a port of this machine, as documented; and their faults."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TOKEN = "AQAEtoken=="
VM = "worker_3"


class MetadataServer:
    """A service whose answers a test sets. `seen` has `METHOD path` of each request, in order."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.action: dict[str, str] | None = None
        self.rebalance: dict[str, str] | None = None
        self.preempted = False
        self.events: list[dict[str, object]] = []
        self.fault: Callable[[BaseHTTPRequestHandler], bool] = lambda _: False
        """Answers in place of the service, and returns whether it has."""
        self.token = TOKEN
        self.changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        self._server.daemon_threads = True
        self._server.block_on_close = False

    @property
    def address(self) -> str:
        """`HOST:PORT`."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which the watcher finds this server, for each cloud."""
        url = f"http://{self.address}"
        return {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{url}/",
            "GCE_METADATA_HOST": self.address,
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": url,
        }

    def change(self, **values: object) -> None:
        """Set answers; a request that waits for a change is answered."""
        with self.changed:
            for name, value in values.items():
                setattr(self, name, value)
            self.changed.notify_all()

    def wait_for_requests(self, path: str, count: int = 1, seconds: float = 60) -> None:
        """Wait until so many requests for a path with this text in it have come from now on."""
        with self.changed:
            before = sum(path in line for line in self.seen)
            assert self.changed.wait_for(lambda: sum(path in line for line in self.seen) >= before + count, seconds), (
                self.seen
            )

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                service.answer(self)

            def do_PUT(self) -> None:
                service.answer(self)

        return Handler

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        with self.changed:
            self.seen.append(f"{handler.command} {handler.path}")
            self.changed.notify_all()
        with suppress(ConnectionError):
            if self.fault(handler):
                return
            status, body, headers = self._find(handler)
            handler.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body.encode())

    def _find(self, handler: BaseHTTPRequestHandler) -> tuple[int, str, dict[str, str]]:
        parts, headers = urlsplit(handler.path), handler.headers
        path = parts.path
        if path == "/latest/api/token":
            is_right = handler.command == "PUT" and "X-aws-ec2-metadata-token-ttl-seconds" in headers
            return (200, self.token, {}) if is_right else (405, "", {})
        if path.startswith("/latest/meta-data/"):
            return self._aws(path) if headers.get("X-aws-ec2-metadata-token") == self.token else (401, "", {})
        if path.startswith("/computeMetadata/v1/"):
            return self._gcp(parts.query, path) if headers.get("Metadata-Flavor") == "Google" else (403, "", {})
        if path.startswith("/metadata/"):
            is_right = headers.get("Metadata") == "true" and "api-version" in parts.query
            return self._azure(path) if is_right else (400, "Bad request", {})
        return 404, "", {}

    def _aws(self, path: str) -> tuple[int, str, dict[str, str]]:
        known = {"spot/instance-action": self.action, "events/recommendations/rebalance": self.rebalance}
        if path.endswith("/instance-id"):
            return 200, "i-1234567890abcdef0", {}
        found = next((value for name, value in known.items() if path.endswith(name)), None)
        return (404, "<html>Not Found</html>", {}) if found is None else (200, json.dumps(found), {})

    def _gcp(self, query: str, path: str) -> tuple[int, str, dict[str, str]]:
        asked = parse_qs(query)
        if path.endswith("/instance/id"):
            return 200, "4711", {"Metadata-Flavor": "Google"}
        with self.changed:
            if "wait_for_change" in asked:
                before = asked["last_etag"] == ["true"]
                self.changed.wait_for(lambda: self.preempted != before, float(asked["timeout_sec"][0]))
            is_preempted = self.preempted
        etag = str(is_preempted).lower()
        return 200, etag.upper(), {"Metadata-Flavor": "Google", "ETag": etag}

    def _azure(self, path: str) -> tuple[int, str, dict[str, str]]:
        if path.endswith("/compute/name"):
            return 200, VM, {}
        return 200, json.dumps({"DocumentIncarnation": len(self.events), "Events": self.events}), {}


@contextmanager
def metadata_server() -> Iterator[MetadataServer]:
    """Serve until the end of the block."""
    server = MetadataServer()
    thread = threading.Thread(target=server._server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.change(preempted=not server.preempted)  # requests that wait for a change
        server._server.shutdown()
        thread.join()
        server._server.server_close()


def later(seconds: float) -> str:
    """Return the time in so many seconds, as AWS writes it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def azure_event(seconds: float, kind: str = "Preempt", *, status: str = "Scheduled", vm: str = VM) -> dict[str, object]:
    """Return an event of Azure that begins in so many seconds."""
    time = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    return {
        "EventId": "602d9444-d2cd-49c7-8624-8643e7171297",
        "EventType": kind,
        "ResourceType": "VirtualMachine",
        "Resources": ["worker_1", vm],
        "EventStatus": status,
        "NotBefore": "" if status == "Started" else time,
        "Description": "",
        "EventSource": "Platform",
        "DurationInSeconds": -1,
    }


def drip(handler: BaseHTTPRequestHandler) -> bool:
    """Answer a byte every now and then, for ever."""
    with suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.05)
    return True


def hang_up(handler: BaseHTTPRequestHandler) -> bool:
    """Close the connection without an answer."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
    return True


def say(data: bytes) -> Callable[[BaseHTTPRequestHandler], bool]:
    """Return a fault that sends these bytes and closes the connection."""

    def send(handler: BaseHTTPRequestHandler) -> bool:
        with suppress(OSError):
            handler.wfile.write(data)
        handler.close_connection = True
        return True

    return send
