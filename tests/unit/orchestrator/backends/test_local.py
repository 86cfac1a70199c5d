"""What the backend has open when something cannot be had."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from orchestrator.backends.local import LocalBackend
from orchestrator.backends.order_queue import OrderQueue
from orchestrator.config import Settings
from runtime.ipc.guardian_protocol import Ping


def test_an_executor_that_cannot_be_ordered_leaves_no_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guardian's socket is full, and there is no descriptor left to keep the executor's until there is room."""

    def no_room(_fd: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    backend = LocalBackend("r", Settings.from_options(workers=1))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        queue = backend._orders = OrderQueue(ours)
        while not queue.is_blocked:
            queue.put(Ping(1))
        before = os.listdir("/dev/fd")
        with monkeypatch.context() as patch, pytest.raises(OSError, match="Too many open files"):
            patch.setattr(os, "dup", no_room)
            backend.start(0, 1)
        assert os.listdir("/dev/fd") == before
    backend.close()
