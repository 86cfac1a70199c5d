"""Orders to the guardian never wait for it, come in order, and come with the files that they were given."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from orchestrator.backends.order_queue import MAX_OPTIONAL, OrderQueue
from runtime.ipc.frames import FrameReader, pack
from runtime.ipc.guardian_protocol import Fork, Graces, Order, Ping


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def receive(theirs: socket.socket, queue: OrderQueue, count: int) -> list[Order]:
    reader: FrameReader[Order] = FrameReader(Order)
    found: list[Order] = []
    while len(found) < count:
        queue.flush()
        found.extend(reader.feed(theirs.recv(1 << 16)))
    return found


def test_more_than_the_socket_holds_is_kept_in_order(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    queue = OrderQueue(ours)
    orders = [Graces(float(number), 0.0) for number in range(2000)]
    for order in orders:
        queue.put(order)
    assert len(queue) > 0
    assert queue.is_blocked
    assert receive(theirs, queue, len(orders)) == orders
    assert len(queue) == 0
    assert not queue.is_blocked


def test_descriptors_are_sent_as_they_were_when_they_were_put(ends: tuple[socket.socket, socket.socket]) -> None:
    """The caller's are closed and their numbers are reused long before there is room."""
    ours, theirs = ends
    queue = OrderQueue(ours)
    filled = 0
    while not len(queue):
        queue.put(Ping(filled))
        filled += 1
    read_fd, write_fd = os.pipe()
    queue.put(Fork(1, 1, 0), (write_fd,))
    os.close(write_fd)
    assert receive(theirs, queue, filled - 1)  # all before the first that waited
    for _ in range(filled):
        queue.flush()
    size = len(pack(Fork(1, 1, 0)))
    received: list[int] = []
    while not received:
        queue.flush()
        _, received, _, _ = socket.recv_fds(theirs, size, 1)
    os.write(received[0], b"x")
    assert os.read(read_fd, 1) == b"x"
    os.close(received[0])
    os.close(read_fd)


def test_what_nothing_depends_on_is_dropped_when_much_waits(ends: tuple[socket.socket, socket.socket]) -> None:
    queue = OrderQueue(ends[0])
    while len(queue) < MAX_OPTIONAL:
        queue.put(Ping(0))
    queue.put(Ping(1), optional=True)
    assert len(queue) == MAX_OPTIONAL
    queue.put(Ping(2))
    assert len(queue) == MAX_OPTIONAL + 1
    queue.close()


def test_orders_to_a_dead_guardian_are_dropped(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.close()
    queue = OrderQueue(ours)
    queue.put(Ping(1))
    assert len(queue) == 0
