"""Read labels, `NAME=VALUE`, by which people find runs, and choose the runs that have them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Final

import typer

from orchestrator.journal import RunRecord
from runtime.errors import UsageError

LONGEST: Final = 200
"""Characters of a name, and of a value, at most."""

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")

LabelFilter = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=VALUE", help="Only runs with this label. May be given more than once."),
]


def parse_labels(words: Iterable[str] | None) -> dict[str, str]:
    """Return labels by name. Raises UsageError for a word that is none, and for a name that has two values."""
    labels: dict[str, str] = {}
    for word in words or ():
        name, separator, value = word.partition("=")
        if not separator or not _NAME.fullmatch(name) or max(len(name), len(value)) > LONGEST or "\0" in value:
            raise UsageError(
                f"--label {word[:LONGEST]!r} is no label: write NAME=VALUE, the name of letters, digits and _ . / -,"
                f" and each of at most {LONGEST} characters"
            )
        if labels.setdefault(name, value) != value:
            raise UsageError(f"--label {name} is given two values, {labels[name]!r} and {value!r}")
    return labels


def has_labels(run: RunRecord, wanted: Mapping[str, str]) -> bool:
    """Whether a run has all these labels."""
    return all(run.labels.get(name) == value for name, value in wanted.items())
