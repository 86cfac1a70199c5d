"""Read the output of tasks that a journal keeps, with their keys."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from orchestrator.core.output import OutputChunk
from orchestrator.journal import Journal

PAGE: Final = 100
"""Chunks of output whose keys are looked up at once."""


def read_output(
    journal: Journal, run: int, after: int = 0, task: int | None = None
) -> Iterator[tuple[OutputChunk, str | None]]:
    """Yield the chunks behind the one that is numbered `after`, each with the key of its task, None if it has none.

    task: only those of the task of this number.
    """
    chunks = journal.output(run, after, task)
    while page := list(islice(chunks, PAGE)):
        keys = journal.keys(run, {chunk.task for chunk in page if chunk.task})
        for chunk in page:
            yield chunk, keys.get(chunk.task)
