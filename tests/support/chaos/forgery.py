"""What an agent can do to its executor's event pipe: it lives in the same process, so it can write to it.

The descriptor is found as any program could find it: the write end of a pipe whose other end is elsewhere. The key of
its frames is found in the process's own memory.
"""

from __future__ import annotations

import fcntl
import gc
import os
import struct
from collections.abc import Callable

from runtime.executor.outbox import Outbox

_HEADER = struct.Struct("<II")  # a frame is its length, the same XOR the pipe's key, and a msgpack payload


def events_fd() -> int:
    """Return the descriptor of the event pipe."""
    links = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            links[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the descriptor of the listing itself
            continue
    ends = list(links.values())
    for fd, target in links.items():
        alone = fd > 2 and target.startswith("pipe:") and ends.count(target) == 1
        if alone and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
            return fd
    raise LookupError(f"no event pipe among {links}")


def header(length: int) -> bytes:
    """Return a valid header."""
    key = next(found._key for found in gc.get_objects() if isinstance(found, Outbox))
    return _HEADER.pack(length, length ^ key)


def garbage() -> None:
    """Bytes that are no frame."""
    os.write(events_fd(), b"\x05\x00\x00\x00nonsense, and more of it")


def oversized() -> None:
    """Write a frame that claims four gigabytes."""
    os.write(events_fd(), header(0xFFFF_FFFF) + b"x" * 100)


def replayed() -> None:
    """Write a well-formed frame with a number that was used already."""
    payload = b"\x92\x01\x90"  # msgpack: [1, []]
    os.write(events_fd(), header(len(payload)) + payload)


def torn() -> None:
    """Write a frame that claims more than follows, so that it swallows the executor's next records."""
    os.write(events_fd(), header(300) + b"\x92\x01")


def endless() -> None:
    """Write a torn frame of a plausible size that swallows all further records of the executor."""
    os.write(events_fd(), header(200_000_000) + b"\x92\x01")


def cut() -> None:
    """Half a frame, and then the executor's end."""
    os.write(events_fd(), header(1000) + b"half")
    os._exit(9)


def closed() -> None:
    """No event pipe any more."""
    os.close(events_fd())


def replaced() -> None:
    """Make the event pipe lead elsewhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, events_fd())


FORGERIES: dict[str, Callable[[], None]] = {
    each.__name__: each for each in (garbage, oversized, replayed, torn, endless, cut, closed, replaced)
}
"""By name; each is done once, and the task is executed again."""
