"""Read labels, `NAME=VALUE`, by which people find runs, and choose the runs that have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from orchestrator.cli.declare import Option
from orchestrator.journal import RunRecord
from orchestrator.labels import LONGEST, RESERVED, is_label
from runtime.errors import UsageError

LabelFilter = Annotated[
    list[str] | None,
    Option("--label", metavar="NAME=VALUE", help="Only runs with this label. May be given more than once."),
]


def parse_labels(words: Iterable[str] | None) -> dict[str, str]:
    """Return labels by name. Raises UsageError for a word that is none, and for a name that has two values."""
    labels: dict[str, str] = {}
    for word in words or ():
        name, separator, value = word.partition("=")
        if name.startswith(RESERVED):
            raise UsageError(f"--label {word[:LONGEST]!r}: names that begin with {RESERVED} are quiesce's own")
        if not separator or not is_label(name, value):
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
