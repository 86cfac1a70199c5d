"""The multiplexer on real pipes, without a process at the other end."""

from __future__ import annotations

import os
import selectors
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.backends import Channels
from orchestrator.core.output import OutputLine
from orchestrator.engine.executor_pipes import STUCK_SECONDS, ExecutorPipes
from orchestrator.engine.multiplexer import (
    RECORD_WEIGHT,
    STOP_LINES,
    TURN_EVENTS,
    TURN_LINES,
    DrainResult,
    PipeMultiplexer,
)
from orchestrator.logging.line_assembly import LINE_LIMIT
from orchestrator.logging.output_stream import Lost, OutputStream
from runtime.ipc import executor_protocol, frames


@dataclass
class Far:
    """An executor's ends of its pipes, and what the multiplexer made of what it wrote."""

    mux: PipeMultiplexer
    selector: selectors.BaseSelector
    ours: Channels
    tasks: int
    control: int
    events: int
    stdout: int
    stderr: int
    heard: list[executor_protocol.ExecutorRecord] = field(default_factory=list)
    garbage: list[str] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    lost: list[tuple[str, Lost]] = field(default_factory=list)
    seq: int = 0

    def send(self, *records: executor_protocol.ExecutorRecord) -> None:
        self.seq += 1
        os.write(self.events, frames.pack(executor_protocol.UpFrame(self.seq, list(records))))

    def turn(self) -> None:
        """Everything that is ready now."""
        while (ready := self.selector.select(0)) or self.mux.has_output:
            for key, _ in ready:
                key.data()
            self.mux.read_events()
            self.mux.show_output()

    def one_turn(self) -> None:
        """As the engine's."""
        for key, _ in self.selector.select(0):
            key.data()
        self.mux.read_events()
        self.mux.show_output()

    def let_go(self, *fds: int) -> None:
        for fd in fds:
            os.close(fd)


class Listener:
    """Notes the text of lines."""

    def __init__(self, far: Callable[[], Far]) -> None:
        self._far = far

    def owner(self, slot: int) -> int:
        return 0

    def take_line(self, slot: int, stream: str, line: OutputLine) -> None:
        self._far().lines.append((stream, line.text))

    def take_loss(self, slot: int, stream: str, lost: Lost) -> None:
        self._far().lost.append((stream, lost))

    def remember_tasks(self, slot: int) -> None:
        pass


@pytest.fixture
def far() -> Iterator[Far]:
    selector = selectors.DefaultSelector()
    made = [os.pipe() for _ in range(5)]
    (tasks_r, tasks_w), (control_r, control_w), (events_r, events_w), (out_r, out_w), (err_r, err_w) = made
    for fd in (tasks_w, events_r, out_r, err_r, tasks_r):
        os.set_blocking(fd, False)
    ours = Channels(tasks_w, control_w, events_r, out_r, err_r)
    mux = PipeMultiplexer(
        selector,
        lambda _slot, _incarnation, records: one.heard.extend(records),
        lambda _slot, _incarnation, why: one.garbage.append(why),
        Listener(lambda: one),
    )
    one: Far = Far(mux, selector, ours, tasks_r, control_r, events_w, out_w, err_w)
    mux.open(0, 1, ours)
    yield one
    mux.close()
    selector.close()
    for fd in (tasks_r, control_r, events_w, out_w, err_w):
        try:
            os.close(fd)
        except OSError:
            pass


def test_records_come_in_order_and_a_frame_in_pieces_is_one(far: Far) -> None:
    far.send(executor_protocol.Started(1), executor_protocol.Started(2))
    frame = frames.pack(executor_protocol.UpFrame(2, [executor_protocol.Started(3)]))
    for at in range(len(frame)):
        os.write(far.events, frame[at : at + 1])
        far.turn()
    assert far.heard == [executor_protocol.Started(1), executor_protocol.Started(2), executor_protocol.Started(3)]
    assert not far.garbage


def test_a_turn_reads_so_much_in_turn_for_all(far: Far) -> None:
    """Small records weigh more than their bytes, and who has just been read is behind who has not."""
    (read, write), (stdout, *ends), (stderr, *more), (reader, tasks), (other, control) = (os.pipe() for _ in range(5))
    for fd in (read, stdout, stderr):
        os.set_blocking(fd, False)
    far.mux.open(1, 1, Channels(tasks, control, read, stdout, stderr))
    a_turns_worth = TURN_EVENTS // RECORD_WEIGHT
    far.send(*[executor_protocol.Started(1)] * a_turns_worth)
    os.write(write, frames.pack(executor_protocol.UpFrame(1, [executor_protocol.Started(2)] * a_turns_worth)))
    far.one_turn()
    assert len(far.heard) == a_turns_worth
    first = far.heard[0]
    assert far.mux.take_byte_count() >= TURN_EVENTS
    far.send(executor_protocol.Started(1))
    os.write(write, frames.pack(executor_protocol.UpFrame(2, [executor_protocol.Started(2)])))
    far.one_turn()
    assert far.heard[a_turns_worth] != first
    far.turn()
    assert len(far.heard) == 2 * (a_turns_worth + 1)
    far.let_go(write, *ends, *more, reader, other)


def test_a_replayed_frame_is_garbage_and_nothing_behind_it_is_read(far: Far) -> None:
    far.send(executor_protocol.Started(1))
    far.seq = 0
    far.send(executor_protocol.Started(2))
    far.send(executor_protocol.Started(3))
    far.turn()
    assert far.heard == [executor_protocol.Started(1)]
    assert far.garbage == ["frame 1 came after frame 1"]
    far.send(executor_protocol.Started(4))
    far.turn()
    far.mux.drain_and_close(0, 1)
    assert far.heard == [executor_protocol.Started(1)]


@pytest.mark.parametrize(
    "noise",
    [
        struct.pack("<II", frames.MAX_FRAME + 1, frames.MAX_FRAME + 1),
        struct.pack("<II", 3, 3) + b"abc",
        b"\xff" * 64,
    ],
)
def test_noise_is_told_once(far: Far, noise: bytes) -> None:
    far.send(executor_protocol.Started(1))
    os.write(far.events, noise)
    far.turn()
    assert far.heard == [executor_protocol.Started(1)]
    assert len(far.garbage) == 1


def test_a_frame_that_goes_no_further_is_garbage_unless_nobody_read_or_nobody_lives(far: Far) -> None:
    os.write(far.events, struct.pack("<II", 1000, 1000) + b"x")
    far.turn()
    now = 100.0
    far.mux.check_stalled_frames(now, [now])
    far.mux.check_stalled_frames(now + STUCK_SECONDS * 2, [now])  # no sign of life: it is stopped, and that is not this
    far.mux.pause()
    far.mux.check_stalled_frames(now + STUCK_SECONDS * 4, [now + STUCK_SECONDS * 4])
    far.mux.resume_reading()
    at = now + STUCK_SECONDS * 4.5
    far.mux.check_stalled_frames(at, [at])
    assert not far.garbage
    at += STUCK_SECONDS
    far.mux.check_stalled_frames(at, [at])
    assert far.garbage == [f"it began a frame and did not finish it within {STUCK_SECONDS:g} s"]


def test_while_paused_nothing_is_heard_and_nothing_is_lost(far: Far) -> None:
    far.mux.pause()
    far.send(executor_protocol.Started(1))
    os.write(far.stdout, b"a word\n")
    far.turn()
    assert not far.heard
    assert far.lines == [("stdout", "a word")]
    assert far.mux.take_byte_count() == 0
    far.mux.resume_reading()
    far.turn()
    assert far.heard == [executor_protocol.Started(1)]
    assert far.mux.take_byte_count() > 0
    assert far.mux.take_byte_count() == 0


def test_what_was_said_before_the_end_is_taken_also_while_paused(far: Far) -> None:
    far.mux.pause()
    far.send(executor_protocol.Started(1))
    os.write(far.stderr, b"last words")
    os.write(far.events, b"\x09")
    far.let_go(far.events, far.stdout, far.stderr)
    assert far.mux.drain_and_close(0, 1) == DrainResult(1, "last words")
    assert far.heard == [executor_protocol.Started(1)]
    assert far.lines == [("stderr", "last words")]
    assert far.mux.slots == {}
    assert far.mux.drain_and_close(0, 1) == DrainResult()


def test_another_incarnations_end_is_not_this_ones(far: Far) -> None:
    far.mux.drain_and_close(0, 2)
    assert far.mux.slots == {0: 1}


def test_orders_that_do_not_fit_are_sent_when_there_is_room(far: Far) -> None:
    orders = [executor_protocol.LoadAgent(number, by_name=True, source=b"x" * 50_000) for number in range(10)]
    for order in orders:
        far.mux.send(0, order)
    reader: frames.FrameReader[executor_protocol.TaskOrder] = frames.FrameReader(executor_protocol.TaskOrder)
    got: list[executor_protocol.TaskOrder] = []
    while len(got) < len(orders):
        got += reader.feed(os.read(far.tasks, 1 << 16))
        far.turn()
    assert got == orders


def test_orders_for_who_is_gone_are_dropped(far: Far) -> None:
    far.let_go(far.tasks, far.control)
    far.mux.send(0, executor_protocol.FinishAndExit())
    far.mux.send_control(0, executor_protocol.ReturnTasks(1))
    far.mux.send(1, executor_protocol.FinishAndExit())
    far.mux.send_control(1, executor_protocol.ReturnTasks(1))
    assert far.mux.slots == {0: 1}


def waits(stream: OutputStream) -> bool:
    return stream.has_lines


def take_all(stream: OutputStream, data: bytes = b"") -> list[str]:
    stream.feed(data)
    return texts(stream, 1 << 20)


def texts(stream: OutputStream, count: int) -> list[str]:
    return [line.text for line in stream.take(count)[0]]


def test_output_is_cut_into_lines_and_an_endless_one_is_passed_on() -> None:
    stream = OutputStream(0, "stdout")
    assert take_all(stream, b"one\r\ntw") == ["one"]
    assert take_all(stream, b"o\n\xffthree") == ["two"]
    assert not waits(stream)
    assert take_all(stream, b"x" * LINE_LIMIT) == ["\\xffthree" + "x" * LINE_LIMIT]
    stream.feed(b"end")
    assert not waits(stream)
    stream.end()
    assert waits(stream)
    assert take_all(stream) == ["end"]
    assert not waits(stream)


@given(st.lists(st.binary()), st.integers(1, 5))
def test_lines_are_the_same_however_few_are_taken(pieces: list[bytes], count: int) -> None:
    stream = OutputStream(0, "stdout")
    taken = []
    for piece in pieces:
        stream.feed(piece)
        lines, size = stream.take(count)
        assert size >= len(lines)
        taken += [line.text for line in lines]
    assert stream.end() is None
    while stream.has_lines:
        taken += texts(stream, count)
    whole = b"".join(pieces)
    *wanted, rest = whole.split(b"\n")
    wanted += [rest] if rest.strip() else []
    assert taken == [last_state(line.decode("utf-8", "backslashreplace")) for line in wanted]


def last_state(line: str) -> str:
    return line.rstrip("\r").rpartition("\r")[2]


@given(st.lists(st.lists(st.sampled_from(["", "a", "word", "x" * 3000]), max_size=50)), st.integers(1, 40))
def test_after_the_allowance_lines_are_counted_and_the_last_ones_kept(pieces: list[list[str]], allowance: int) -> None:
    """Nothing is logged that was not said, in order, and every line is either logged or counted."""
    stream = OutputStream(0, "stderr")
    stream.limit(allowance, 1 << 20)
    said, shown = [], []
    for piece in pieces:
        said += piece
        stream.feed("".join(f"{line}\n" for line in piece).encode())
        shown += texts(stream, 8)
    while waits(stream):
        shown += texts(stream, 8)
    blank = [line for line in said if line]
    assert stream.last_line == (blank[-1] if blank else "")
    first = len(shown)
    assert first == min(allowance, len(said))
    lost = stream.end()
    while waits(stream):
        shown += texts(stream, 8)
    assert len(shown) + (lost.lines if lost else 0) == len(said)
    assert shown[:first] == said[:first]
    assert shown[first:] == said[len(said) - len(shown) + first :]


def test_a_flood_of_one_leaves_the_turn_to_others_and_is_not_read_on(far: Far) -> None:
    """What is not logged yet stays in the pipe, which blocks its writer."""
    os.set_blocking(far.stdout, False)
    flood = b"\n" * (1 << 16)
    os.write(far.stdout, flood)
    os.write(far.stderr, b"a word\n")
    far.one_turn()
    assert len(far.lines) <= TURN_LINES
    assert ("stderr", "a word") in far.lines
    os.write(far.stdout, flood)
    with pytest.raises(BlockingIOError):
        os.write(far.stdout, b"more")
    far.one_turn()
    with pytest.raises(BlockingIOError):
        os.write(far.stdout, b"more")
    far.turn()
    assert len(far.lines) == 2 * len(flood) + 1
    assert not far.lost


def test_once_a_stop_has_begun_everything_is_read_and_the_rest_is_counted(far: Far) -> None:
    far.mux.limit_output()
    lines = [b"%d\n" % number for number in range(20_000)]
    for line in lines:
        os.write(far.stderr, line)
        far.turn()
    far.let_go(far.stderr)
    assert far.mux.drain_and_close(0, 1) == DrainResult(0, "19999")
    far.turn()
    shown = [int(line) for _, line in far.lines]
    ((_, lost),) = far.lost
    assert len(shown) + lost.lines == len(lines)
    assert STOP_LINES // 2 <= len(shown) <= STOP_LINES
    assert shown == sorted(shown)
    assert shown[-1] == 19_999


def test_while_the_log_is_behind_nobody_is_read(far: Far) -> None:
    far.mux.pause_output()
    os.write(far.stdout, b"a word\n")
    far.turn()
    assert not far.lines
    far.mux.resume_output()
    far.turn()
    assert far.lines == [("stdout", "a word")]


def test_pipes_close_once(far: Far) -> None:
    pipes = ExecutorPipes(0, 1, far.ours)
    forgotten: list[int] = []
    far.mux._pipes.clear()
    pipes.close_all(forgotten.append)
    pipes.close_all(forgotten.append)
    assert len(forgotten) == 5
