"""Ready-made interrupt sources. The Redis checker meets a real server in tests/process."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.execution.state import ExecutionState
from runtime.interrupts.checkers import (
    FileChecker,
    HttpChecker,
    NonsenseError,
    RedisChecker,
    ResourceMonitor,
    parse_signal,
)
from runtime.interrupts.interruptible import Interruptible
from runtime.model import InterruptReason, InterruptSignal
from runtime.testing import real_time, run_real

WHOLE = InterruptSignal(reason=InterruptReason.ERROR_THRESHOLD, message="m", triggered_by="ops")


@pytest.mark.parametrize(
    "text", ["", " \n", "0", "false", "No", "OFF", "null", "continue", "\ufeffno", '{"interrupt_requested": false}']
)
def test_words_that_say_no(text: str) -> None:
    assert parse_signal(text, "t") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1", ""),
        ("TRUE\n", ""),
        ("stop", ""),
        ("\ufefftrue\r\n", ""),
        ('{"interrupt_requested": true}', ""),
        ('{"interrupt_requested": true, "message": "disk is full", "more": [1]}', "disk is full"),
        ('{"interrupt_requested": true, "message": null, "triggered_by": null, "reason": "custom"}', ""),
    ],
)
def test_words_that_say_yes(text: str, message: str) -> None:
    signal = parse_signal(text, "t")
    assert signal is not None
    assert (signal.reason, signal.message, signal.triggered_by) == (InterruptReason.CUSTOM, message, "t")


NONSENSE = [
    "{}",
    "[]",
    "{not ours}",
    "disk is full",
    "<!DOCTYPE html><title>Log in</title>",
    '"true"',
    "2",
    "[true]",
    '{"interrupt_requested": "yes"}',
    '{"interrupt_requested": null}',
    '{"reason": "unauthorized", "message": "no token"}',
    '{"reason": ["timeout"]}',
    '{"error": true}',
    "\x1b[2J",
    "\ufffd\ufffd",
    "[" * 9000,
]


@pytest.mark.parametrize("text", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_says_neither(text: str) -> None:
    with pytest.raises(NonsenseError) as caught:
        parse_signal(text, "t")
    line = str(caught.value)
    assert line.isprintable()
    assert len(line) < 500


@given(st.text())
def test_no_text_stops_by_chance(text: str) -> None:
    try:
        signal = parse_signal(text, "t")
    except NonsenseError:
        return
    assert signal is None or text.strip().lower() in {"1", "true", "yes", "on", "stop"}


def test_a_signal_with_odd_fields_is_one_all_the_same() -> None:
    text = '{"reason": "timeout", "message": 7, "triggered_at": "noon", "triggered_by": ["x"], "more": {}}'
    signal = parse_signal(text, "t")
    assert signal is not None
    assert (signal.reason, signal.message, signal.triggered_by) == (InterruptReason.TIMEOUT, "7", "['x']")


def test_a_whole_signal_is_taken_as_it_is() -> None:
    assert parse_signal(WHOLE.model_dump_json(), "t") == WHOLE


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "stop"
    checker = FileChecker(str(path))
    assert checker() is None
    path.touch()
    signal = checker()
    assert signal is not None
    assert signal.triggered_by == f"file:{path}"
    path.write_text("off")
    assert checker() is None
    path.write_text('{"interrupt_requested": true, "message": "enough"}')
    assert (signal := checker()) is not None
    assert signal.message == "enough"
    for nonsense in NONSENSE:
        path.write_text(nonsense)
        with pytest.raises(NonsenseError):
            checker()
    with pytest.raises(OSError, match="directory"):
        FileChecker(str(tmp_path))()


class _Handler(http.server.BaseHTTPRequestHandler):
    answers: dict[str, tuple[int, bytes]] = {  # noqa: RUF012 - a constant
        "/go": (204, b""),
        "/no": (200, b"false"),
        "/none": (404, b"<html>not found: true</html>"),
        "/gone": (410, b"true"),
        "/empty": (200, b""),
        "/asked": (200, b'{"interrupt_requested": true}'),
        "/login": (200, b"<html><form action=/login></form></html>"),
        "/object": (200, b"{}"),
        "/list": (200, b"[]"),
        "/binary": (200, b"\xff\xfe\x00"),
        "/denied": (403, b"true"),
        "/stop": (200, WHOLE.model_dump_json().encode()),
    }

    def do_GET(self) -> None:
        status, body = self.answers.get(self.path, (500, b"true"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join()


def test_http(server: str) -> None:
    assert HttpChecker(f"{server}/go", timeout=30)() is None
    assert HttpChecker(f"{server}/no", timeout=30)() is None
    assert HttpChecker(f"{server}/stop", timeout=30)() == WHOLE
    assert HttpChecker(f"{server}/asked", timeout=30)() is not None
    for path in ("none", "gone", "empty"):
        assert HttpChecker(f"{server}/{path}", timeout=30)() is None
    for path in ("login", "object", "list", "binary"):
        with pytest.raises(NonsenseError):
            HttpChecker(f"{server}/{path}", timeout=30)()
    with pytest.raises(OSError, match="403") as denied:
        HttpChecker(f"{server}/denied", timeout=30)()
    denied.value.close()  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="500") as caught:
        HttpChecker(f"{server}/broken", timeout=30)()
    caught.value.close()  # type: ignore[attr-defined]  # an HTTPError is a response too
    with pytest.raises(ValueError, match="http"):
        HttpChecker("file:///etc/passwd")


@pytest.mark.parametrize("path", ["login", "object", "list", "binary", "denied"])
def test_a_wrong_answer_is_an_error_in_the_log_and_stops_nothing(
    server: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with ExecutionState() as state:
            state.set_interrupt_checker(HttpChecker(f"{server}/{path}", timeout=30), min_interval=0)
            for _ in range(3):
                await state.check_interrupt()

    run_real(main)
    assert [record.levelname for record in caplog.records if record.name == "quiesce.checker"] == ["ERROR"]


@pytest.mark.parametrize("value", [None, b"0", "off", b""])
def test_redis_says_no(value: object) -> None:
    assert RedisChecker(_Client(value), "k")() is None


def test_redis_says_yes() -> None:
    signal = RedisChecker(_Client(b'{"interrupt_requested": true, "message": "stop please"}'), "k")()
    assert signal is not None
    assert (signal.message, signal.triggered_by) == ("stop please", "redis:k")


class _Client:
    def __init__(self, value: object) -> None:
        self._value = value

    def get(self, name: str, /) -> object:
        assert name == "k"
        return self._value


@real_time
async def test_a_checker_in_a_state(tmp_path: Path) -> None:
    async with ExecutionState() as state:
        state.set_interrupt_checker(FileChecker(str(tmp_path / "stop")), min_interval=0)
        await state.check_interrupt()
        (tmp_path / "stop").touch()
        with pytest.raises(BaseException, match="custom"):
            await state.check_interrupt()


def test_memory_above_the_limit_interrupts() -> None:
    state = Interruptible()
    sizes = iter([1, 2**20, 3 * 2**20])
    looked = threading.Event()

    def measure() -> int:
        size = next(sizes)
        if size > 2**20:
            looked.set()
        return size

    with ResourceMonitor(state, rss_limit=2**20, interval=0.001, measure=measure):
        assert looked.wait(10)
    signal = state.interrupt_signal
    assert signal is not None
    assert (signal.reason, signal.message) == (InterruptReason.RESOURCE_LIMIT, "3 MiB in use, 1 MiB allowed")


def test_a_look_that_fails_is_made_again(caplog: pytest.LogCaptureFixture) -> None:
    state = Interruptible()
    answers: list[int | OSError] = [OSError("once"), OSError("twice"), 2]
    sizes = iter(answers)
    told = threading.Event()
    state.add_waker(told.set)

    def measure() -> int:
        size = next(sizes)
        if isinstance(size, OSError):
            raise size
        return size

    with ResourceMonitor(state, rss_limit=1, interval=0.001, measure=measure):
        assert told.wait(10)
    assert [record.getMessage() for record in caplog.records] == [
        "the memory in use cannot be measured: OSError('once')"
    ]


def test_a_monitor_ends_with_its_block() -> None:
    state = Interruptible()
    with ResourceMonitor(state, rss_limit=2**50, interval=1000) as monitor:
        assert not monitor.check()
    assert not state.is_interrupted
    assert not monitor.check()
