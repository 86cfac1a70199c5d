"""Sizes as people read them. (What they write: tests of the settings.)"""

from __future__ import annotations

import pytest

from orchestrator.units import format_size


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (2048, "2 KiB"), (64 << 20, "64 MiB"), (3 << 29, "1.5 GiB"), (5 << 40, "5120.0 GiB")]
)
def test_a_size_has_the_unit_that_is_read_best(size: int, text: str) -> None:
    assert format_size(size) == text
