"""A file system that does not answer: a process that reads its file sleeps, and not even SIGKILL ends that.

The kernel's FUSE protocol (linux/fuse.h) in its smallest form: INIT, LOOKUP, GETATTR and OPEN are answered, so that
there is a file; a READ or WRITE is taken and never answered. A request that user space has taken is waited for whatever
signals come (fs/fuse/dev.c: request_wait_answer), so the reader is in state D until the connection is aborted, as
with a file server that hangs. Needs root and /dev/fuse.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_IN = struct.Struct("<IIQQIIII")  # length, opcode, unique, node, uid, gid, pid, padding
_OUT = struct.Struct("<IiQ")  # length, error, unique
_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _WRITE, _INIT, _BATCH_FORGET = 1, 2, 3, 14, 15, 16, 26, 42
_UNANSWERED = (_READ, _WRITE, _FORGET, _BATCH_FORGET)
_ROOT, _FILE = 1, 2
_ENOSYS = -38
_VALID_SECONDS = 1000
_DIRECT_IO = 1
_MNT_FORCE, _MNT_DETACH = 1, 2
_LIBC = ctypes.CDLL(None, use_errno=True)


class HungFileSystem:
    """One mount with one file, on which every read and write hangs until `release`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._fd = os.open("/dev/fuse", os.O_RDWR)
        self._thread = threading.Thread(target=self._serve, name="hung file system", daemon=True)

    @property
    def file(self) -> Path:
        """The file that cannot be read."""
        return self.folder / "hung"

    def mount(self) -> bool:
        """Mount it. Return whether this host can."""
        options = f"fd={self._fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        done: int = _LIBC.mount(b"quiesce-hung", os.fsencode(self.folder), b"fuse", 0, options)
        if done == 0:
            self._thread.start()
        return done == 0

    def release(self) -> None:
        """Abort the connection: every read that hangs fails, and its process can end. The file is an empty one then."""
        if self._fd >= 0:
            _LIBC.umount2(os.fsencode(self.folder), _MNT_FORCE)
            _LIBC.umount2(os.fsencode(self.folder), _MNT_DETACH)
            if self._thread.is_alive():
                self._thread.join(5)
            os.close(self._fd)
            self._fd = -1
            self.file.touch()  # who asks for it from now on finds a disk that answers

    def _serve(self) -> None:
        with suppress(OSError):  # ENODEV: it was released
            while True:
                request = os.read(self._fd, 1 << 20)
                _, opcode, unique, node, *_ = _IN.unpack_from(request)
                if opcode not in _UNANSWERED:
                    error, body = _answer(opcode, node)
                    os.write(self._fd, _OUT.pack(_OUT.size + len(body), error, unique) + body)


def _answer(opcode: int, node: int) -> tuple[int, bytes]:
    if opcode == _INIT:
        return 0, struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 0, 0, 1 << 16, 1, 0, 0, 0)
    if opcode == _LOOKUP:
        return 0, struct.pack("<QQQQII", _FILE, 0, _VALID_SECONDS, _VALID_SECONDS, 0, 0) + _attributes(_FILE)
    if opcode == _GETATTR:
        return 0, struct.pack("<QII", _VALID_SECONDS, 0, 0) + _attributes(node)
    if opcode == _OPEN:
        return 0, struct.pack("<QII", 0, _DIRECT_IO, 0)
    return _ENOSYS, b""


def _attributes(node: int) -> bytes:
    mode = stat.S_IFDIR | 0o755 if node == _ROOT else stat.S_IFREG | 0o644
    return struct.pack("<6Q10I", node, 4096, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


@contextmanager
def hung_file_system(folder: Path) -> Iterator[HungFileSystem | None]:
    """Mount one at a new folder and release it at the end. None where this host cannot have it."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        yield None
        return
    folder.mkdir()
    system = HungFileSystem(folder)
    try:
        yield system if system.mount() else None
    finally:
        system.release()
