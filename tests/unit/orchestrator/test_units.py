"""Times and sizes as people write and read them."""

from __future__ import annotations

import pytest

from orchestrator.units import format_size, parse_seconds, parse_size


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (2048, "2 KiB"), (64 << 20, "64 MiB"), (3 << 29, "1.5 GiB"), (5 << 40, "5120.0 GiB")]
)
def test_a_size_has_the_unit_that_is_read_best(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10", 10), ("1.5s", 1.5), ("2m", 120), ("1h30m", 5400), ("30d", 2_592_000), ("1d12h", 129_600), ("500ms", 0.5),
        (" 1h 30m ", 5400), (".5", 0.5), (90, 90), (1.5, 1.5), ("0", 0),
    ],
)  # fmt: skip
def test_a_time_is_a_number_of_seconds_or_numbers_with_units(text: object, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", " ", "soon", "30m1h", "1m1m", "-1", "1e3", "s", "1h30", "5 minutes", "1:30", "1,5", "nan"]
)
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time: write seconds, or a time like 10, 1\.5s, 2m, 1h30m or 30d"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("text", "size"), [("512M", 512 << 20), ("1GiB", 1 << 30), ("1.5g", 3 << 29), ("100", 100), ("2 kB", 2048)]
)
def test_a_size_is_a_number_of_bytes_or_has_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "big", "1X", "-1", "1e9", "1M1K"])
def test_what_is_no_size_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size: write bytes, or a size like 1048576, 512M or 1GiB"):
        parse_size(text)
