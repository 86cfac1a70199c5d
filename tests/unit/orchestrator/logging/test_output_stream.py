"""Frames among bytes that are none, cut anywhere, become the lines of their tasks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.output import OutputLine
from orchestrator.logging.output_stream import OutputStream
from runtime.ipc.output_frames import OutputRecord, end_frame, record_frames, text_frames
from runtime.model import Severity

KEY = 0x0A0A0A0A


def lines_of(pieces: list[bytes], owner: int | None = 0, *, limit: bool = False) -> list[OutputLine]:
    stream = OutputStream(0, "stdout", KEY)
    if limit:
        stream.limit(0, 0)
    lines = []
    for piece in pieces:
        stream.feed(piece, owner)
        while stream.has_lines:
            lines += stream.take(3)[0]
    stream.end()
    while stream.has_lines:
        lines += stream.take(3)[0]
    return lines


def text(task: int, data: bytes) -> bytes:
    return b"".join(text_frames(KEY, task, data, 64))


def record(task: int, said: str, number: int = 1) -> bytes:
    return b"".join(record_frames(KEY, task, OutputRecord("error", "a.b", said, number), 512))


_PARTS = st.one_of(
    st.tuples(st.just("text"), st.integers(1, 3), st.text("ab \n", max_size=90)),
    st.tuples(st.just("record"), st.integers(1, 3), st.text(max_size=700)),
)


@given(st.lists(_PARTS, max_size=6), st.integers(1, 80))
def test_frames_are_the_same_however_they_are_cut(parts: list[tuple[str, int, str]], size: int) -> None:
    data, texts, records = b"", {1: "", 2: "", 3: ""}, []
    for number, (kind, task, said) in enumerate(parts):
        if kind == "text":
            data += text(task, said.encode())
            texts[task] += said
        else:
            data += record(task, said.encode("utf-8", "replace").decode(), number)
            records.append((task, said.encode("utf-8", "replace").decode()))
            texts[task] += "" if not texts[task] or texts[task].endswith("\n") else "\n"
    found = lines_of([data[at : at + size] for at in range(0, len(data), size)])
    assert [(line.task, line.text) for line in found if line.logger] == records
    for task, whole in texts.items():
        *expected, rest = whole.split("\n")
        expected += [rest] if rest.strip() else []
        shown = [line.text for line in found if line.task == task and not line.logger]
        assert [line for line in shown if line.strip()] == [line for line in expected if line.strip()]


def test_plain_bytes_belong_to_the_task_whose_frame_follows() -> None:
    """Not where tasks run side by side; and what no frame follows belongs to the task that runs."""
    data = (
        text(1, b"one\n") + b"child of one\n" + end_frame(KEY, 1) + b"child of two\n" + text(2, b"two\n") + b"later\n"
    )
    found = lines_of([data], owner=3)
    assert [(line.task, line.text) for line in found] == [
        (1, "one"),
        (1, "child of one"),
        (2, "child of two"),
        (2, "two"),
        (3, "later"),
    ]
    assert [line.task for line in lines_of([data], owner=None)] == [1, 0, 0, 2, 0]


def test_the_next_task_may_have_begun_while_it_was_read() -> None:
    stream = OutputStream(0, "stdout", KEY)
    stream.feed(b"of one\n" + end_frame(KEY, 1) + b"of two\n", 1, 2)
    assert [(line.task, line.text) for line in stream.take(9)[0]] == [(1, "of one"), (2, "of two")]


def test_a_record_says_its_level_and_what_is_none_is_text() -> None:
    (line,) = lines_of([record(1, "it\nfailed")])
    assert line == OutputLine(1, "it\nfailed", Severity.ERROR, "a.b")
    header = record(1, "").partition(b";")[0][:-4]
    assert [line.text for line in lines_of([header + b"0004;[1]\n"])] == ["[1]"]


def test_a_frame_of_another_key_is_text() -> None:
    forged = b"".join(text_frames(1, 7, b"forged\n", 64))
    (line,) = lines_of([forged], owner=2)
    assert line.task == 2
    assert line.text.endswith("forged")


def test_the_end_of_what_was_dropped_is_cut_between_frames() -> None:
    data = b"".join(text(1, b"line %d\n" % number) for number in range(5000))
    found = lines_of([data], limit=True)
    assert [line.text for line in found] == [f"line {number}" for number in range(4901, 5000)]
    assert {line.task for line in found} == {1}


def test_a_writer_that_was_killed_in_the_middle_of_a_frame() -> None:
    assert [line.text for line in lines_of([text(1, b"whole\nhalf\n")[:-3]])] == ["whole", "ha"]
    assert lines_of([text(1, b"whole")[:8]])[0].task == 0
