"""Check labels, words by name, by which people find runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from runtime.errors import UsageError
from runtime.limits import show_value

LONGEST: Final = 200
"""Characters of a name, and of a value, at most."""

RESERVED: Final = "quiesce/"
"""Names that begin so are not for users: the journal keeps facts about the run by them."""

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")


def is_label(name: str, value: str) -> bool:
    """Whether this is a label: the name of letters, digits and `_ . / -`, each of at most LONGEST characters."""
    fits = max(len(name), len(value)) <= LONGEST and "\0" not in value
    return fits and _NAME.fullmatch(name) is not None and not name.startswith(RESERVED)


def check_labels(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Return labels that a program gives. Raises UsageError for what is none."""
    if labels is None:
        return {}
    given: object = labels
    if not isinstance(given, Mapping):
        raise UsageError(f'labels = {show_value(labels)}: give a dict of text by name, like {{"team": "search"}}')
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str) or not is_label(name, value):
            raise UsageError(
                f"labels: {show_value(name)}: {show_value(value)} is no label: the name is of letters, digits and"
                f" _ . / -, and both are text of at most {LONGEST} characters"
            )
    return dict(given)
