"""docs/glossary.md names what the code has: every term's place exists, and no term stands there twice."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (?!term )(\S[^|]*) \| [^|]+ \| ([^|]+) \|$", PAGE, re.MULTILINE)
PLACE = re.compile(r"`((?:orchestrator|runtime)(?:\.\w+)+)`")


def look_up(place: str) -> None:
    """Import as much of `place` as is a module, and look the rest up in it. Raises AttributeError without it."""
    names = place.split(".")
    for length in range(len(names), 0, -1):
        try:
            found = importlib.import_module(".".join(names[:length]))
        except ModuleNotFoundError:
            continue
        for name in names[length:]:
            found = getattr(found, name)
        return


def test_every_row_has_a_place() -> None:
    assert len(ROWS) == len(re.findall(r"^\| (?!term |---)", PAGE, re.MULTILINE)) > 40
    assert [term for term, places in ROWS if not PLACE.search(places)] == []


@pytest.mark.parametrize("place", sorted(set(PLACE.findall(PAGE))))
def test_a_term_s_place_exists(place: str) -> None:
    look_up(place)


def test_no_term_stands_there_twice() -> None:
    terms = Counter(term for row, _ in ROWS for term in row.split(", "))
    assert [term for term, times in terms.items() if times > 1] == []
