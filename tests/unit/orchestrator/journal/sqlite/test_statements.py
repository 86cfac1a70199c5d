"""The statements bind their parameters in a way that every supported CPython accepts."""

from __future__ import annotations

import re

import pytest

from orchestrator.journal.sqlite import queries

STATEMENTS = {
    name: text
    for name, text in vars(queries).items()
    if name.isupper() and not name.startswith("_") and isinstance(text, str)
}


@pytest.mark.parametrize("text", STATEMENTS.values(), ids=STATEMENTS)
def test_parameters_are_in_order_or_named_and_never_numbered(text: str) -> None:
    """`sqlite3` of 3.12.1 takes `?1` for a name, and warns when a sequence is bound to it (gh-117995)."""
    assert not re.search(r"\?\d", text)
    assert not ("?" in text and re.search(r":[a-z]", text))
