"""Signals as bytes on pipes, when there are several pipes."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from orchestrator.engine.signals import SignalPipe

TERM = int(signal.SIGTERM)
FROM_HANDLER = 0x80 | TERM


@pytest.fixture
def pipes() -> Iterator[list[SignalPipe]]:
    before = signal.getsignal(signal.SIGTERM)
    made = [SignalPipe(), SignalPipe()]
    for pipe in made:
        pipe.install()
    yield made
    for pipe in made:
        pipe.restore()
        pipe.close()
    assert signal.getsignal(signal.SIGTERM) == before
    assert SignalPipe.live == []


def test_each_hears_one_signal_once(pipes: list[SignalPipe]) -> None:
    for _ in range(3):
        signal.raise_signal(signal.SIGTERM)
        assert [pipe.read() for pipe in pipes] == [[signal.SIGTERM]] * 2
        assert [pipe.read() for pipe in pipes] == [[], []]  # what the first has passed on is no second one


@pytest.mark.parametrize("order", [(TERM, FROM_HANDLER), (FROM_HANDLER, TERM)])
def test_whichever_way_is_quicker(pipes: list[SignalPipe], order: tuple[int, int]) -> None:
    for _ in range(3):
        found = []
        for byte in order:
            pipes[1].write(byte)
            found += pipes[1].read()
        assert found == [signal.SIGTERM]


def test_who_has_left_is_told_no_more_and_the_others_are(pipes: list[SignalPipe]) -> None:
    pipes[0].restore()
    signal.raise_signal(signal.SIGTERM)
    assert pipes[0].read() == []
    assert pipes[1].read() == [signal.SIGTERM]
    assert SignalPipe.is_read_elsewhere(signal.SIGTERM)
