"""Read and write times and sizes as people write them: `90`, `1.5h`, `500M`. Pure."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from runtime.limits import LARGEST_SIZE, LONGEST_SECONDS

_TIMES: Final = {None: 1, "s": 1, "m": 60, "h": 3600}
_SIZES: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_seconds(text: object) -> float:
    """Return seconds from a number with an optional unit s, m or h. Raises ValueError, which says what to write."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|m|h)?", str(text).strip())
    if match is None:
        raise ValueError(f"{_excerpt(text)} is not a time: write seconds, like 90 or 1.5, or 90s, 15m, 2h")
    seconds = float(match[1]) * _TIMES[match[2]]
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"{_excerpt(text)} is more than ten years ({LONGEST_SECONDS / 3600:.0f}h)")
    return seconds


def parse_size(text: object) -> int:
    """Return bytes from a number with an optional unit K, M, G or T (powers of 1024). Raises ValueError likewise."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([kmgt]?)(?:i?b)?", str(text).strip().lower())
    if match is None:
        raise ValueError(f"{_excerpt(text)} is not a size: write bytes, or 500M, 2G")
    size = float(match[1]) * _SIZES[match[2]]
    if size > LARGEST_SIZE:
        raise ValueError(f"{_excerpt(text)} is more than {LARGEST_SIZE} bytes")
    return int(size)


def format_size(size: float) -> str:
    """Return a number of bytes for people: `512 MiB`, `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def format_number(number: float) -> str:
    """Return a number with all its digits and no exponent, as options and systemd read it."""
    return f"{Decimal(repr(number)):f}".removesuffix(".0")


def _excerpt(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
