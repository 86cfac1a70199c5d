"""The termination message: at most 4 KiB, whole characters, and never a reason to fail."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.status import Phase
from orchestrator.integrations.kubernetes import termination
from orchestrator.integrations.kubernetes.termination import LIMIT, TerminationMessage, fit
from tests.unit.orchestrator.integrations.probes.test_health import STOP, VIEW


@given(st.text(max_size=6000))
def test_it_fits_and_is_text(text: str) -> None:
    data = fit(text)
    assert len(data) <= LIMIT
    data.decode("utf-8")


def test_a_short_one_is_kept_as_it_is() -> None:
    assert fit("run 1: completed") == b"run 1: completed\n"


def test_a_long_one_is_cut_between_characters_and_says_so() -> None:
    data = fit("x" + "ä" * LIMIT)
    assert data.endswith("ä…\n".encode())
    assert LIMIT - 2 <= len(data) <= LIMIT


def test_control_characters_are_shown_and_lines_are_kept() -> None:
    """The Pod is described in a terminal."""
    assert fit("one \x1b[31m\0\ntwo\n") == b"one \\x1b[31m\\x00\ntwo\n"


def test_a_long_reason_leaves_room_for_the_numbers(tmp_path: Path) -> None:
    path = tmp_path / "log"
    message = chosen(str(path))
    message(replace(VIEW, phase=Phase.STOPPING, signal=STOP.model_copy(update={"message": "x\n" * 9000})))
    message.flush()
    assert path.read_text().endswith(
        "…): 3 completed, 1 failed, 6 left; the run was killed before it wrote how it ended\n"
    )


def write(message: TerminationMessage, text: str) -> None:
    message.write(text)
    message.flush()


def chosen(path: str) -> TerminationMessage:
    return TerminationMessage(path)


def test_it_is_written_in_place_because_a_bind_mount_cannot_be_renamed_onto(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("something much longer from before")
    before = path.stat().st_ino
    write(chosen(str(path)), "done")
    assert path.read_text() == "done\n"
    assert path.stat().st_ino == before


def test_nothing_is_written_where_no_kubelet_has_made_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(termination, "DEFAULT_PATH", str(tmp_path / "log"))
    message = TerminationMessage()
    write(message, "done")
    assert message.problem is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("exists", [False, True])
def test_the_default_is_used_only_where_somebody_made_it(
    exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "termination-log"
    if exists:
        path.touch()
    monkeypatch.setattr(termination, "DEFAULT_PATH", str(path))
    message = TerminationMessage()
    write(message, "done")
    assert path.exists() is exists
    assert not exists or path.read_text() == "done\n"


def test_a_place_that_cannot_be_written_is_one_line_and_no_error(tmp_path: Path) -> None:
    message = chosen(str(tmp_path / "missing" / "log"))
    write(message, "done")
    assert message.problem is not None
    assert "No such file or directory" in message.problem
    assert "\n" not in message.problem


def test_a_fifo_that_nobody_reads_does_not_hold_it_up(tmp_path: Path) -> None:
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    message = chosen(path)
    write(message, "done")
    assert message.problem is not None


def test_a_place_that_does_not_answer_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount that is gone: not even the observer that tells of the stop, on the loop's thread, waits for it."""
    answers, asked = threading.Event(), threading.Event()

    def hang(path: str, data: bytes) -> None:
        asked.set()
        answers.wait()

    monkeypatch.setattr(termination, "_replace", hang)
    monkeypatch.setattr(termination, "OUTPUT_TIMEOUT", 0.05)
    message = chosen(str(tmp_path / "log"))
    message(replace(VIEW, phase=Phase.STOPPING, signal=STOP))
    assert asked.wait(10)
    write(message, "the end")
    answers.set()
    assert message.problem is not None
    assert "does not answer" in message.problem


def test_a_stop_is_told_when_it_begins_and_only_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    message = chosen(str(path))
    message(VIEW)
    assert not path.exists()
    stopping = replace(VIEW, phase=Phase.STOPPING, signal=STOP)
    message(stopping)
    message.flush()
    assert "stopping (received SIGTERM): 3 completed, 1 failed, 6 left" in path.read_text()
    write(message, "the end")
    message(stopping)
    message.flush()
    assert path.read_text() == "the end\n"
