"""Give freed memory back to the host.

The C library keeps what is freed for the next allocation: blocks of some hundred KiB that it took from the host one by
one it takes from its heap once some were freed (mallopt(3), M_MMAP_THRESHOLD), and a heap only shrinks at its end. So
an executor that has dropped a hundred large agents would stay as large as it was.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

_trim: Callable[[int], int] | None
try:
    _trim = ctypes.CDLL(None).malloc_trim
except (OSError, AttributeError):  # not glibc
    _trim = None


def trim_heap() -> None:
    """Return freed memory to the host where that is possible (malloc_trim(3)). Takes milliseconds for a large heap."""
    if _trim is not None:
        _trim(0)
