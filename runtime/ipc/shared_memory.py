"""Anonymous memory that another process of the same user opens by its place in /proc. Nothing has a name on a disk.

Theory. The owner makes a memfd and sends where it is: its pid, the descriptor, the inode. The other process opens
/proc/PID/fd/N, checks the inode (a number may belong to another file by now) and maps it. The memory lives as long as
a process holds it: whatever is killed, and however, the kernel frees it with the last one. What /proc allows here is
what it allows a debugger to *read* (ptrace(2), PTRACE_MODE_READ): the same user, and an owner that is dumpable; Yama's
ptrace_scope is about attaching and does not count. Where it is refused, `SharedMemoryLost` says so, and the sender
sends the bytes by the pipe instead.

Rejected: named files in /dev/shm or a temporary directory, as joblib has them. A SIGKILL leaves them behind unless yet
another process removes them, and that one can be killed, too; and /dev/shm is 64 MiB in a container by default, while
a memfd counts against the memory limit only.

Rejected: SCM_RIGHTS. The pipes of an executor carry bytes, and a task may be tried again by another executor later.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import resource
from contextlib import suppress
from typing import Final, NamedTuple

from runtime.errors import QuiesceError
from runtime.ipc.flag import anonymous_file

MOST_SEGMENTS: Final = 256
"""Segments that one process owns at a time, at most; each costs it a descriptor."""

_CHUNK: Final = 1 << 30
"""Bytes of one write: Linux writes 2 GiB less a page at once, at most."""

_live: set[int] = set()
"""What stands for each segment of this process. No lock: the garbage collector may release one at any place."""


class SharedMemoryLost(QuiesceError):
    """Memory that another process shared cannot be opened here: it is gone, or /proc does not allow it."""


class SegmentPlace(NamedTuple):
    """Where a segment is found, as long as its owner has it."""

    pid: int
    fd: int
    inode: int
    size: int


class Segment:
    """Own one piece of shared memory: it is released when the last reference to this object goes.

    `name` is what `find_segment` looks for; no other process can open it by that alone.

    Raises OSError where there is none to be had: no memory, too many segments, a host without /proc.
    """

    def __init__(self, name: str = "quiesce-shared") -> None:
        self._fd = -1
        _check_room()
        self._fd = anonymous_file(name)
        _live.add(id(self))
        self._inode = os.fstat(self._fd).st_ino
        self._pid = os.getpid()
        self.size = 0

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Release the memory here. Processes that have mapped it keep it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            _live.discard(id(self))
            os.close(fd)

    @property
    def place(self) -> SegmentPlace:
        """Return where another process finds it."""
        return SegmentPlace(self._pid, self._fd, self._inode, self.size)

    def fill(self, data: memoryview, *, is_final: bool) -> None:
        """Append bytes. The final ones fix its size and content. Raises OSError."""
        self.size = write_at(self._fd, data, self.size)
        if is_final and hasattr(fcntl, "F_ADD_SEALS"):
            seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            with suppress(OSError):  # a temporary file, where the host has no memfd
                fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, seals)

    def map_read_only(self) -> mmap.mmap:
        """Map what was filled in, in this process."""
        return mmap.mmap(self._fd, self.size, access=mmap.ACCESS_READ)

    def discard(self, start: int, end: int) -> None:
        """Give the memory between two offsets back to the host, whole pages of it; they read as zeros then."""
        start -= start % mmap.PAGESIZE
        if end <= start or not hasattr(mmap, "MADV_REMOVE"):
            return
        with suppress(OSError, ValueError), mmap.mmap(self._fd, end - start, offset=start) as pages:
            pages.madvise(mmap.MADV_REMOVE)


def open_segment(place: SegmentPlace, *, to_write: bool = False) -> int:
    """Return a descriptor of a segment of another process, or of this one. Raises SharedMemoryLost."""
    path = f"/proc/{place.pid}/fd/{place.fd}"
    try:
        fd = os.open(path, (os.O_RDWR if to_write else os.O_RDONLY) | os.O_CLOEXEC)
    except OSError as error:
        raise SharedMemoryLost(f"{path} cannot be opened: {error.strerror}") from error
    if os.fstat(fd).st_ino != place.inode:
        os.close(fd)
        raise SharedMemoryLost(f"{path} is another file by now")
    return fd


def find_segment(pid: int, name: str) -> SegmentPlace:
    """Return the place of a segment of a process by its name. Raises SharedMemoryLost."""
    directory, wanted = f"/proc/{pid}/fd", f"/memfd:{name} (deleted)"
    try:
        for fd in os.listdir(directory):
            with suppress(OSError):  # closed meanwhile
                if os.readlink(f"{directory}/{fd}") == wanted:
                    status = os.stat(f"{directory}/{fd}")
                    return SegmentPlace(pid, int(fd), status.st_ino, status.st_size)
    except OSError as error:
        raise SharedMemoryLost(f"{directory} cannot be read: {error.strerror}") from error
    raise SharedMemoryLost(f"process {pid} shares no memory named {name}")


def map_segment(place: SegmentPlace, access: int) -> mmap.mmap:
    """Map all of a segment; `access` is one of mmap's ACCESS_ constants. Raises SharedMemoryLost."""
    fd = open_segment(place, to_write=access == mmap.ACCESS_WRITE)
    try:
        return mmap.mmap(fd, place.size, access=access)
    except (OSError, ValueError) as error:
        raise SharedMemoryLost(f"shared memory of {place.size} bytes cannot be mapped: {error}") from error
    finally:
        os.close(fd)


def write_at(fd: int, data: memoryview, offset: int) -> int:
    """Write bytes at an offset. Return where they end. Raises OSError."""
    while data:
        count = os.pwrite(fd, data[:_CHUNK], offset)
        data, offset = data[count:], offset + count
    return offset


def read_at(fd: int, target: memoryview, offset: int) -> None:
    """Fill `target` from an offset on. Raises SharedMemoryLost if there is less, OSError."""
    while target:
        count = os.preadv(fd, [target[:_CHUNK]], offset)
        if count == 0:
            raise SharedMemoryLost("the shared memory ends too early")
        target, offset = target[count:], offset + count


def next_page(fd: int) -> int:
    """Return the first offset behind all pages of a file: what is there can be given back without its neighbours."""
    return -(-os.fstat(fd).st_size // mmap.PAGESIZE) * mmap.PAGESIZE


def _check_room() -> None:
    if not os.path.exists("/proc/self/fd"):
        raise OSError("this host has no /proc: nothing can be shared")
    limit = min(MOST_SEGMENTS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
    if len(_live) >= limit:
        raise OSError(f"{limit} segments of shared memory are in use")
