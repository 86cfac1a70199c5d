"""The stages in their order, and how their parts become one result."""

from __future__ import annotations

from collections.abc import Callable

from auditlib import calls, clones, flow, imports, shape, smells, text
from auditlib.model import Json, Look, Source, Unreadable, finding

STAGES: dict[str, Callable[[Source, Look], Json]] = {
    "text": text.run,
    "shape": shape.run,
    "imports": imports.run,
    "smells": smells.run,
    "calls": calls.run,
    "clones": clones.run,
    "flow": flow.run,
}
"""Each takes a source and a checkpoint, and gives its facts and a list of findings, all JSON-able."""

NOTABLE = {"unbound-local", "unreachable", "mutable-default", "duplicate-key", "assert-tuple", "raise-notimplemented"}
NOTABLE |= {"self-comparison", "literal-identity", "return-in-finally", "unreadable"}
"""Kinds of findings that are told at once, while the audit goes on."""


def run_stage(name: str, source: Source, look: Look) -> Json:
    """One stage. A file nested so deep that a stage cannot follow gives a finding, not a failure."""
    try:
        return STAGES[name](source, look)
    except RecursionError:
        return {"findings": [finding("too-deep", 1, f"nested too deep for the analysis of its {name}")]}


def combine(source: Source, parts: dict[str, Json]) -> Json:
    """The result of a file: every stage's facts, all findings in order of line."""
    findings = [one for name in STAGES for one in parts[name]["findings"]]
    facts = {key: value for name in STAGES for key, value in parts[name].items() if key != "findings"}
    return {"module": source.module, "readable": True, **facts, "findings": ordered(findings)}


def unreadable(module: str, error: Unreadable) -> Json:
    """The result of a file that is not Python source."""
    return {"module": module, "readable": False, "findings": [finding("unreadable", error.line, str(error))]}


def ordered(findings: list[Json]) -> list[Json]:
    """By line, then kind: the same order every time."""
    return sorted(findings, key=lambda one: (one["line"], one["kind"], one["text"]))
