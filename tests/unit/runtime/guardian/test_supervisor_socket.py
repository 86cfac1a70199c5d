"""The guardian's end of the socket: it never waits for a supervisor that does not read."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator

import pytest

from runtime.guardian.supervisor_socket import SupervisorSocket
from runtime.ipc.frames import FrameReader, pack
from runtime.ipc.guardian_protocol import ExitedReport, KillTree, Order, Report

MANY = 5000
"""More reports than a socket has room for."""


class Far:
    """The supervisor's end."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.uplink = SupervisorSocket(theirs.detach(), self.selector)
        self.reader: FrameReader[Report] = FrameReader(Report)

    def order(self, *orders: Order) -> None:
        self.socket.sendall(b"".join(map(pack, orders)))

    def hear(self) -> list[Report]:
        found: list[Report] = []
        while True:
            try:
                data = self.socket.recv(1 << 16)
            except BlockingIOError:
                return found
            found.extend(self.reader.feed(data))

    def close(self) -> None:
        self.socket.close()
        self.selector.close()
        self.uplink.close()


@pytest.fixture
def far() -> Iterator[Far]:
    end = Far()
    yield end
    end.close()


def exited(number: int) -> ExitedReport:
    return ExitedReport(number, 1, 100 + number, 0, 0.5, 1 << 20)


def test_reports_that_do_not_fit_wait_and_nothing_else_does(far: Far) -> None:
    """With hundreds of executors both ends wrote, and neither read."""
    for number in range(MANY):
        far.uplink.report(exited(number))
    far.order(KillTree(1, 2))
    ready = {events for _, events in far.selector.select(0)}
    assert ready == {selectors.EVENT_READ}
    assert far.uplink.read() == ([KillTree(1, 2)], [])
    heard: list[Report] = []
    while len(heard) < MANY:
        heard += far.hear()
        for _, events in far.selector.select(0):
            assert events == selectors.EVENT_WRITE
            far.uplink.flush()
    assert heard == list(map(exited, range(MANY)))
    assert far.selector.select(0) == []


def test_the_last_word_goes_out_before_the_end(far: Far) -> None:
    far.uplink.report(exited(1))
    far.uplink.stop_reading()
    far.uplink.flush_blocking(1.0)
    assert far.hear() == [exited(1)]


def test_a_supervisor_that_dies_is_noticed_once_and_nobody_spins_after(far: Far) -> None:
    far.socket.close()
    assert far.uplink.read() is None
    far.uplink.stop_reading()
    far.uplink.report(exited(1))
    assert far.selector.select(0) == []
