"""Frames survive any cut of the byte stream; what is no frame is said to be none, and executes nothing."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import WireError
from runtime.ipc.executor_protocol import (
    AgentLoaded,
    AgentLoadFailed,
    Control,
    Drop,
    FinishAndExit,
    Interrupt,
    Leaving,
    LoadAgent,
    Ready,
    ReturnTasks,
    Snapshot,
    Started,
    Task,
    TaskDone,
    TaskEvent,
    TaskOrder,
    Tasks,
    TasksReturned,
    UpFrame,
)
from runtime.ipc.frames import MAX_FRAME, FrameReader, pack

NUMBER = st.integers(0, 2**63 - 1)
TEXT = st.text(max_size=20)
BYTES = st.binary(max_size=200)
FLOAT = st.floats(allow_nan=False)

up = st.one_of(
    st.builds(Ready, st.integers(0, 9), NUMBER),
    st.builds(AgentLoaded, NUMBER, TEXT, st.booleans(), BYTES),
    st.builds(AgentLoadFailed, NUMBER, TEXT, TEXT),
    st.builds(Started, NUMBER),
    st.builds(
        TaskDone,
        NUMBER,
        TEXT,
        st.none() | BYTES,
        TEXT,
        st.none() | TEXT,
        st.none() | TEXT,
        FLOAT,
        FLOAT,
        st.none() | BYTES,
    ),
    st.builds(Snapshot, NUMBER, BYTES, TEXT),
    st.builds(TaskEvent, NUMBER, TEXT, TEXT, FLOAT, BYTES),
    st.builds(TasksReturned, st.lists(NUMBER, max_size=5)),
    st.just(Leaving()),
)
frames = st.lists(st.builds(UpFrame, NUMBER, st.lists(up, max_size=4)), max_size=6)
tasks = st.builds(Task, NUMBER, TEXT, NUMBER, NUMBER, BYTES, TEXT, st.none() | BYTES)
down = st.one_of(
    st.builds(LoadAgent, NUMBER, st.booleans(), BYTES),
    st.builds(Tasks, st.lists(tasks)),
    st.builds(Drop, NUMBER),
    st.just(FinishAndExit()),
)
control = st.one_of(st.builds(Interrupt, NUMBER, NUMBER, BYTES), st.builds(ReturnTasks, NUMBER))


def read_all(reader: FrameReader[Any], chunks: Iterable[bytes]) -> list[Any]:
    """Every payload of a finished stream."""
    return [payload for chunk in chunks for payload in reader.feed(chunk)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The same bytes in pieces."""
    edges = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(edges)]


@given(frames, st.lists(NUMBER, max_size=30))
def test_any_cut_gives_the_same_frames(sent: list[UpFrame], places: list[int]) -> None:
    reader: FrameReader[UpFrame] = FrameReader(UpFrame)
    assert read_all(reader, cut(b"".join(map(pack, sent)), places)) == sent
    assert reader.partial_bytes == 0


@given(st.lists(down, max_size=5), st.lists(control, max_size=5))
def test_the_ways_down(orders: list[TaskOrder], controls: list[Control]) -> None:
    assert read_all(FrameReader(TaskOrder), [b"".join(map(pack, orders))]) == orders
    assert read_all(FrameReader(Control), [b"".join(map(pack, controls))]) == controls


@given(frames.filter(bool), NUMBER)
def test_a_torn_frame_is_known_and_never_guessed_at(sent: list[UpFrame], place: int) -> None:
    data = b"".join(map(pack, sent))
    last = len(pack(sent[-1]))
    kept = len(data) - 1 - place % (last - 1) if last > 1 else len(data)
    reader: FrameReader[UpFrame] = FrameReader(UpFrame)
    assert read_all(reader, [data[:kept]]) == sent[:-1]
    assert reader.partial_bytes == kept - (len(data) - last)


@given(st.binary(min_size=1, max_size=300))
def test_garbage_is_a_wire_error_or_an_unfinished_frame(noise: bytes) -> None:
    reader: FrameReader[UpFrame] = FrameReader(UpFrame)
    try:
        found = read_all(reader, [noise])
    except WireError:
        pass
    else:
        assert all(isinstance(each, UpFrame) for each in found)


@given(st.binary(max_size=100))
def test_a_whole_frame_of_garbage_is_refused(noise: bytes) -> None:
    """Bytes of the right length and the wrong shape. (The shortest record of all is an array of two.)"""
    framed = struct.pack("<II", len(noise), len(noise)) + noise
    reader: FrameReader[Ready] = FrameReader(Ready)
    try:
        (found,) = read_all(reader, [framed])
    except WireError:
        return
    assert isinstance(found, Ready)


def test_a_frame_of_another_channel_is_refused() -> None:
    with pytest.raises(WireError):
        read_all(FrameReader(TaskOrder), [pack(ReturnTasks(1))])
    with pytest.raises(WireError):
        read_all(FrameReader(UpFrame), [pack(FinishAndExit())])


def test_an_oversized_frame_is_refused_at_its_header() -> None:
    reader: FrameReader[UpFrame] = FrameReader(UpFrame)
    with pytest.raises(WireError, match="claims"):
        read_all(reader, [struct.pack("<II", MAX_FRAME + 1, MAX_FRAME + 1)])
    with pytest.raises(WireError, match="claims 9"):
        read_all(FrameReader(UpFrame, limit=8), [struct.pack("<II", 9, 9)])


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=40))
def test_only_frames_with_the_pipe_s_key_are_read(key: int, other: int, noise: bytes) -> None:
    sent = UpFrame(1, [Leaving()])
    assert read_all(FrameReader(UpFrame, key=key), [pack(sent, key)]) == [sent]
    if other != key:
        with pytest.raises(WireError, match="not the beginning of a frame"):
            read_all(FrameReader(UpFrame, key=key), [pack(sent, other)])
    length = int.from_bytes(noise[:4], "little")
    if len(noise) >= 8 and length ^ key != int.from_bytes(noise[4:8], "little"):
        with pytest.raises(WireError):
            read_all(FrameReader(UpFrame, key=key), [noise])


def test_an_oversized_frame_is_not_written() -> None:
    with pytest.raises(WireError, match="larger"):
        pack(Snapshot(1, bytes(MAX_FRAME), "json"))


def test_frames_before_the_garbage_are_read() -> None:
    reader: FrameReader[UpFrame] = FrameReader(UpFrame)
    found = reader.feed(pack(UpFrame(1, [Leaving()])) + struct.pack("<II", 2, 2) + b"no")
    assert next(found) == UpFrame(1, [Leaving()])
    with pytest.raises(WireError):
        next(found)


def test_a_large_frame_is_not_copied_at_every_read() -> None:
    """Twenty megabytes in 4 KiB reads: copied each time they would be fifty gigabytes."""
    sent = UpFrame(1, [Snapshot(1, bytes(20 << 20), "json")])
    data = pack(sent)
    chunks = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    assert read_all(FrameReader(UpFrame), chunks) == [sent]
