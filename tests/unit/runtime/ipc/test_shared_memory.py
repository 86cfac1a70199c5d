"""Anonymous memory that another process opens by its place."""

import ctypes
import errno
import mmap
import os

import pytest

from runtime.ipc import shared_memory
from runtime.ipc.shared_memory import Segment, SharedMemoryLost, map_segment, next_page, open_segment, read_at, write_at


def _filled(data: bytes, *, is_final: bool = True) -> Segment:
    segment = Segment()
    segment.fill(memoryview(data), is_final=is_final)
    return segment


def test_it_is_mapped_by_its_place() -> None:
    segment = _filled(b"abc" * 5000)
    with map_segment(segment.place, mmap.ACCESS_READ) as memory:
        assert memory[:] == b"abc" * 5000


def test_memory_outlives_its_owner() -> None:
    """An executor that has mapped an array keeps it when the caller lets go."""
    segment = _filled(b"abc")
    with map_segment(segment.place, mmap.ACCESS_READ) as memory:
        segment.close()
        assert memory[:] == b"abc"


def test_nobody_changes_what_is_final() -> None:
    segment = _filled(b"abc")
    with pytest.raises(SharedMemoryLost, match="cannot be mapped"):
        map_segment(segment.place, mmap.ACCESS_WRITE)
    fd = open_segment(segment.place, to_write=True)
    try:
        for change in (lambda: os.pwrite(fd, b"x", 0), lambda: os.ftruncate(fd, 0), lambda: os.ftruncate(fd, 9)):
            with pytest.raises(PermissionError):
                change()
    finally:
        os.close(fd)


def test_what_is_not_final_is_written_by_all() -> None:
    segment = _filled(b"abc", is_final=False)
    with map_segment(segment.place, mmap.ACCESS_WRITE) as ours, map_segment(segment.place, mmap.ACCESS_READ) as theirs:
        ours[0:1] = b"x"
        assert theirs[:] == b"xbc"


def test_a_private_mapping_changes_nothing() -> None:
    segment = _filled(b"abc")
    with map_segment(segment.place, mmap.ACCESS_COPY) as memory:
        memory[0:1] = b"x"
    with map_segment(segment.place, mmap.ACCESS_READ) as memory:
        assert memory[:] == b"abc"


def test_what_was_released_is_lost() -> None:
    segment = _filled(b"abc")
    place = segment.place
    segment.close()
    with pytest.raises(SharedMemoryLost, match=f"/proc/{os.getpid()}/fd/{place.fd} cannot be opened: No such file"):
        open_segment(place)


def test_a_descriptor_number_that_is_another_file_is_not_taken_for_it() -> None:
    segment = _filled(b"abc")
    place = segment.place
    other = _filled(b"other")
    os.dup2(other.place.fd, place.fd)  # as if it had been closed, and opened again
    with pytest.raises(SharedMemoryLost, match="is another file by now"):
        open_segment(place)


def test_an_owner_who_may_not_be_read_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner is not dumpable, or of another user: /proc says no (root is asked nothing, so the call is replaced)."""
    segment = _filled(b"abc")

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SharedMemoryLost, match="Permission denied"):
        open_segment(segment.place)


def test_one_process_owns_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "_live", set())
    monkeypatch.setattr(shared_memory, "MOST_SEGMENTS", 2)
    segments = [Segment(), Segment()]
    with pytest.raises(OSError, match="2 segments of shared memory are in use"):
        Segment()
    del segments[0]
    segments.append(Segment())
    segments[0].close()
    segments[0].close()  # the second time does nothing
    segments.append(Segment())


def test_no_proc_means_no_sharing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "exists", lambda _: False)
    with pytest.raises(OSError, match="this host has no /proc"):
        Segment()


def test_memory_that_was_read_is_given_back() -> None:
    """Each array begins at a page of its own, so its neighbours stay."""
    segment = Segment()
    fd = open_segment(segment.place, to_write=True)
    try:
        first = write_at(fd, memoryview(b"a" * 100_001), 0)
        start = next_page(fd)
        second = write_at(fd, memoryview(b"b" * 50_000), start)
        held = os.fstat(fd).st_blocks
        segment.discard(0, first)
        assert os.fstat(fd).st_blocks < held
        target = bytearray(50_000)
        read_at(fd, memoryview(target), start)
        assert target == b"b" * 50_000
        segment.discard(0, second)
        assert os.fstat(fd).st_blocks == 0
        with pytest.raises(SharedMemoryLost, match="ends too early"):
            read_at(fd, memoryview(bytearray(1)), second)
    finally:
        os.close(fd)


def test_it_has_no_name() -> None:
    segment = _filled(b"abc")
    assert os.readlink(f"/proc/self/fd/{segment.place.fd}").endswith("(deleted)")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_cannot_open_it() -> None:
    segment = _filled(b"abc")
    place = segment.place
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ctypes.CDLL(None).setuid(65534)
            open_segment(place)
        except SharedMemoryLost:
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
