"""What a program prints while a live display is on its terminal."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from orchestrator.display.printed import PrintedText


class Stream(io.StringIO):
    """A standard stream, of a terminal or not."""

    def __init__(self, *, is_terminal: bool = True) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@contextmanager
def standard_streams(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Stream, Stream]]:
    """Standard output on a terminal, standard error on none. No fixture: pytest replaces both after its setup."""
    out, err = Stream(), Stream(is_terminal=False)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        yield out, err
        assert (sys.stdout, sys.stderr) == (out, err)


def test_whole_lines_are_written_when_the_display_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    with standard_streams(monkeypatch) as (out, err):
        printed = PrintedText()
        printed.begin()
        print("one")
        print("two", end="", flush=True)
        assert out.getvalue() == ""
        printed.write()
        assert out.getvalue() == "one\n"
        print(" and three\nfour")
        sys.stdout.writelines(["five\n"])
        printed.write()
        assert out.getvalue() == "one\ntwo and three\nfour\nfive\n"
        assert sys.stderr is err, "it is no terminal"
        printed.end()


def test_at_the_end_everything_is_written_and_the_streams_are_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with standard_streams(monkeypatch) as (out, _):
        printed = PrintedText()
        printed.begin()
        print("no end", end="")
        printed.end()
        printed.write()
        assert out.getvalue() == "no end"


def test_a_stream_that_the_program_has_replaced_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    with standard_streams(monkeypatch) as (out, _):
        printed, own = PrintedText(), io.StringIO()
        printed.begin()
        queued, sys.stdout = sys.stdout, own
        printed.end()
        assert sys.stdout is own
        sys.stdout = out
        assert queued.isatty()


def test_a_fork_of_the_program_writes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with standard_streams(monkeypatch) as (out, _):
        printed = PrintedText()
        printed.begin()
        monkeypatch.setattr(os, "getpid", lambda: -1)
        print("from a child")
        assert out.getvalue() == "from a child\n"
        printed.end()


def test_a_closed_stream_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with standard_streams(monkeypatch) as (out, _):
        printed = PrintedText()
        printed.begin()
        print("lost")
        out.close()
        printed.write()
        printed.end()
