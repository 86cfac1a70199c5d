"""Writes on a thread of their own: in order, bounded, and never waited for longer than was said."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator import background
from orchestrator.background import CAPACITY, HIGH_WATER, Background
from orchestrator.logging.sinks import BackgroundLog, BufferedLog, DescriptorSink
from runtime.model import Severity
from runtime.stop_limits import OUTPUT_TIMEOUT
from tests.support.wait import wait_until


class Disk:
    """Hangs until it is mended."""

    def __init__(self) -> None:
        self.works = threading.Event()
        self.asked = threading.Event()
        self.written: list[str] = []

    def write(self, items: list[str]) -> None:
        self.asked.set()
        assert self.works.wait(30)
        self.written += items


def idle(one: Background[str]) -> bool:
    return one.is_idle


@pytest.fixture
def disk() -> Iterator[Disk]:
    one = Disk()
    yield one
    one.works.set()


def test_what_hangs_is_left_behind_and_goes_on_when_it_can(disk: Disk) -> None:
    one = Background("test", disk.write)
    assert one.put("a", 1)
    assert disk.asked.wait(10)
    assert one.put("b", 1)
    assert not one.flush(0.01)
    assert not idle(one)
    disk.works.set()
    assert one.flush(10)
    assert idle(one)
    assert disk.written == ["a", "b"]


def test_what_has_hung_once_is_not_waited_for_again(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Background("test", disk.write)
    one.put("a", 1)
    assert disk.asked.wait(10)
    assert not one.flush(0.01)
    monkeypatch.setattr(one, "_wait_for_move", lambda _: pytest.fail("it was waited for"))
    assert not one.flush(0.01)


def test_there_is_a_limit_to_what_waits(disk: Disk) -> None:
    one = Background("test", disk.write)
    assert one.put("large", 10 * CAPACITY)  # alone, it may be of any size
    assert not one.put("b", 1)
    assert disk.asked.wait(10)
    disk.works.set()
    assert one.flush(10)
    assert one.put("b", 1)
    assert one.flush(10)
    assert disk.written == ["large", "b"]


def test_who_is_urgent_finds_room(disk: Disk) -> None:
    one = Background("test", disk.write)
    one.put("a", CAPACITY)
    assert not one.put("b", 1)
    assert one.put("c", 1, urgent=True)


def test_it_is_congested_while_it_goes_on_and_not_when_it_hangs(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Background("test", disk.write)
    one.put("a", HIGH_WATER + 1)
    assert one.is_congested()
    later = time.monotonic() + OUTPUT_TIMEOUT
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert not one.is_congested()


def test_without_a_thread_the_caller_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    written: list[str] = []
    one = Background("test", written.extend)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert one.put("a", 1)
        assert one.is_idle
    assert written == ["a"]


def test_lost_lines_are_counted_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "CAPACITY", 100)
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as reader:
        os.set_blocking(write, False)
        filled = 0
        while True:
            try:
                filled += os.write(write, b"x" * 4096)
            except BlockingIOError:
                break
        os.set_blocking(write, True)
        sink = DescriptorSink(write)
        for number in range(50):
            sink.write_line(f"line {number:03}")
        assert not sink.flush(0.01)
        dropped = sink.dropped
        assert 0 < dropped < 50
        thread = threading.Thread(target=wait_until, args=(sink.flush,))  # it may count as hung until it is read
        thread.start()
        text = b""
        while len(text) < filled or b"lost" not in text:
            text += reader.read(65536)
        thread.join(10)
        assert sink.flush()
        os.close(write)
        text += reader.read(65536)
    said = text[filled:].decode().splitlines()
    assert said[: 50 - dropped] == [f"line {number:03}" for number in range(50 - dropped)]
    assert said[-1] == f"... {dropped} lines were lost: standard error was not read"


def test_a_descriptor_that_somebody_has_made_non_blocking_gets_all() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    sink = DescriptorSink(write)
    lines = [f"{number} {'x' * 1000}" for number in range(200)]
    for line in lines:
        sink.write_line(line)
    with os.fdopen(read, "rb") as reader:
        wanted = "".join(f"{line}\n" for line in lines).encode()
        assert reader.read(len(wanted)) == wanted
        wait_until(sink.flush)
    os.close(write)


def test_nobody_reads_any_more_and_nothing_is_raised() -> None:
    read, write = os.pipe()
    os.close(read)
    sink = DescriptorSink(write)
    sink.write_line("a word")
    wait_until(sink.flush)
    assert sink.dropped == 0
    os.close(write)


class Recorder:
    """A TimedLog that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float | None]] = []

    def __call__(self, name: str, severity: Severity, fields: Any, at: float | None = None) -> None:
        self.seen.append((name, at))

    def is_congested(self) -> bool:
        return True

    def flush(self, limit: float | None = None) -> bool:
        return False


def test_what_is_held_back_keeps_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    held, log = BufferedLog(), Recorder()
    assert not held.is_congested()
    assert held.flush()
    monkeypatch.setattr(time, "time", lambda: 100.0)
    held("early", Severity.INFO, {})
    monkeypatch.setattr(time, "time", lambda: 108.0)
    held.release(log)
    held("late", Severity.INFO, {})
    assert log.seen == [("early", 100.0), ("late", None)]
    assert held.is_congested()
    assert not held.flush()


def test_a_log_that_blocks_is_left_behind(disk: Disk) -> None:
    """A program's own structlog, or systemd's journal."""
    seen: list[tuple[str, dict[str, Any]]] = []

    def log(name: str, severity: Severity, fields: Any) -> None:
        disk.write([name])
        seen.append((name, dict(fields)))

    one = BackgroundLog(log)
    one("a", Severity.INFO, {"n": 1}, 5.0)
    assert disk.asked.wait(10)
    assert not one.flush(0.01)
    disk.works.set()
    wait_until(one.flush)  # what has hung counts as hung until it moves
    assert seen == [("a", {"n": 1, "at": 5.0})]
