"""docs/http.md: its agent makes fifty calls at once, tries again what may be, and is stopped and resumed."""

from __future__ import annotations

import re
import shlex
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.process.helpers import look
from tests.support.cli import run_cli, start_cli
from tests.support.wait import wait_until

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")
AT_ONCE = 50
LIMIT = 90.0


class Site(ThreadingHTTPServer):
    """A server whose pages misbehave in the ways that the document names."""

    daemon_threads = True
    request_queue_size = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.together = threading.Barrier(AT_ONCE)
        self.open = threading.Event()
        self.asked: Counter[str] = Counter()
        self.lock = threading.Lock()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that are gone: a stop closes their connections."""


class Page(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        with self.server.lock:
            self.server.asked[self.path] += 1
            first = self.server.asked[self.path] == 1
        if kind == "together":  # answered only when so many are asked for at once
            self.server.together.wait(LIMIT)
        if kind == "held":
            self.server.open.wait(LIMIT)
        if kind == "broken" and first:
            self.close_connection = True
            return
        self.send_response({"missing": 404, "busy": 429 if first else 200}.get(kind, 200))
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made
        finally:
            made.open.set()
            made.together.abort()
            made.shutdown()
            thread.join()


def words(folder: Path, urls: list[str]) -> list[str]:
    """Write the files of the document; return the arguments of its command."""
    code, command = re.findall(r"^```(?:python)?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (folder / "fetch.py").write_text(code)
    (folder / "urls.txt").write_text("".join(f"{url}\n" for url in urls))
    return [*shlex.split(command)[1:], "--run-id", "r"]


def test_fifty_calls_are_made_at_once_and_what_may_be_is_tried_again(tmp_path: Path, site: Site) -> None:
    pytest.importorskip("httpx")
    urls = [site.url(f"together/{n}") for n in range(AT_ONCE)]
    urls += [site.url("busy"), site.url("broken"), site.url("missing")]
    done = run_cli(*words(tmp_path, urls), cwd=tmp_path)
    assert done.returncode == 1, done
    seen = look(tmp_path / "quiesce.db")
    assert seen.values == {str(n): {"status": 200, "bytes": 2} for n in range(1, AT_ONCE + 3)}
    assert len(seen.named("task.postponed")) == 1
    assert (site.asked["/busy"], site.asked["/broken"], site.asked["/missing"]) == (2, 2, 1)
    assert "httpx.HTTPStatusError at fetch.py:" in done.stderr


def test_a_stop_ends_the_calls_and_the_next_start_makes_those_without_a_result(tmp_path: Path, site: Site) -> None:
    pytest.importorskip("httpx")
    urls = [site.url(f"quick/{n}") for n in range(20)] + [site.url(f"held/{n}") for n in range(40)]
    with start_cli(*words(tmp_path, urls), cwd=tmp_path) as running:
        wait_until(lambda: sum(site.asked.values()) == len(urls), LIMIT, "all calls are made")
        running.send(signal.SIGTERM)
        assert running.wait().returncode == -signal.SIGTERM
    site.open.set()
    done = run_cli("resume", "r", cwd=tmp_path)
    assert done.returncode == 0, done
    assert len(look(tmp_path / "quiesce.db").values) == len(urls)
    assert {site.asked[f"/held/{n}"] for n in range(40)} == {2}
