"""Stage `text`: tokens. Kinds of lines, notes left behind, blocks that occur twice in a file."""

from __future__ import annotations

import io
import re
import tokenize
import zlib
from collections import defaultdict

from auditlib.model import Json, Look, Source, finding

NOTE = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b[:\s]*(.*)")
SILENT = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.ENCODING}
BLOCK_LINES = 8
"""A duplicated block has at least so many logical lines."""
BLOCK_TOKENS = 60

Logical = tuple[int, int, int, int]
"""First line, last line, checksum, number of tokens of one logical line."""


def run(source: Source, look: Look) -> Json:
    """Count lines, collect notes, find duplicated blocks.

    A line of code is one that a statement stands on; statements that are nothing but a string are documentation.
    """
    code: set[int] = set()
    documentation: set[int] = set()
    comments: set[int] = set()
    findings = [finding("invalid-escape", line, "invalid escape sequence in a string") for line in source.escapes]
    lines: list[Logical] = []
    current: list[str] = []
    strings = 0
    first = 0
    try:
        for kind, string, start, end, _ in tokenize.generate_tokens(io.StringIO(source.text).readline):
            if kind == tokenize.COMMENT:
                comments.add(start[0])
                if note := NOTE.search(string):
                    findings.append(finding("note", start[0], f"{note[1]} {note[2].strip()[:100]}".strip()))
            elif kind == tokenize.NEWLINE:
                look()
                lines.append((first, end[0], zlib.crc32("\0".join(current).encode("utf-8", "replace")), len(current)))
                (code if strings < len(current) else documentation).update(range(first, end[0] + 1))
                current, strings = [], 0
            elif kind not in SILENT:
                if not current:
                    first = start[0]
                current.append(string)
                strings += kind == tokenize.STRING
    except (tokenize.TokenError, SyntaxError) as error:
        findings.append(finding("odd-tokens", 1, f"parses, but does not tokenise: {error.args[0]}"))
    total = source.text.count("\n") + (not source.text.endswith("\n") and source.text != "")
    facts = {
        "total": total,
        "code": len(code),
        "documentation": len(documentation),
        "comment": len(comments - code),
        "blank": sum(1 for line in source.text.splitlines() if not line.strip()),
        "tokens": sum(line[3] for line in lines),
    }
    return {"lines": facts, "findings": findings + duplicated_blocks(lines, look)}


def duplicated_blocks(lines: list[Logical], look: Look) -> list[Json]:
    """Runs of logical lines that occur again further down, each grown as far as it goes."""
    sums = [line[2] for line in lines]
    places: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for start in range(len(lines) - BLOCK_LINES + 1):
        places[tuple(sums[start : start + BLOCK_LINES])].append(start)
    found: list[Json] = []
    covered = -1  # the last logical line that an earlier finding has already reported as a copy
    for again in range(len(lines) - BLOCK_LINES + 1):
        look()
        original = places[tuple(sums[again : again + BLOCK_LINES])][0]
        if again <= covered or original + BLOCK_LINES > again:
            continue
        size = BLOCK_LINES
        while again + size < len(lines) and original + size < again and sums[original + size] == sums[again + size]:
            size += 1
        if sum(line[3] for line in lines[again : again + size]) < BLOCK_TOKENS:
            continue
        covered = again + size - 1
        here, there = (lines[again][0], lines[covered][1]), (lines[original][0], lines[original + size - 1][1])
        text = f"lines {here[0]}-{here[1]} repeat lines {there[0]}-{there[1]}"
        found.append(finding("duplicated-block", here[0], text))
    return found
