"""Stage `clones`: functions that are the same, or nearly, whatever their variables are called.

A function becomes a string of bytes: one for each node of its syntax tree, one for each variable (numbered in
order of appearance), one for each kind of constant. Equal strings are clones. Near clones share most of
their fingerprints, chosen by winnowing (Schleimer, Wilkerson, Aiken 2003): of every WINDOW neighbouring
k-grams the smallest checksum, so that any long enough common part is sure to be seen.
"""

from __future__ import annotations

import ast
import zlib
from collections import Counter, defaultdict

from auditlib.model import Function, Json, Look, Source, children, digest, finding

MINIMUM = 60  # nodes; shorter functions are alike by nature
GRAM = 8
WINDOW = 4
SIMILAR = 0.8  # Jaccard similarity of the fingerprints
CROWD = 12  # a fingerprint shared by more functions of a file than this says nothing

NODES = sorted(name for name, kind in vars(ast).items() if isinstance(kind, type) and issubclass(kind, ast.AST))
NUMBERS = {getattr(ast, name): number for number, name in enumerate(NODES)}


def run(source: Source, look: Look) -> Json:
    """Fingerprint every function of some size; compare those of this file with each other."""
    shapes: list[tuple[Function, bytes]] = []
    for function in source.functions:
        look()
        shape = normalised(function.node)
        if len(shape) >= MINIMUM:
            shapes.append((function, shape))
    prints = [[function.name, function.node.lineno, len(shape), digest(shape)] for function, shape in shapes]
    return {"prints": prints, "findings": near_clones(shapes, look)}


def normalised(node: ast.AST) -> bytes:
    """The shape of a function without its names, docstring and annotations."""
    names: dict[str, int] = {}
    out = bytearray()
    stack: list[ast.AST] = [node]
    while stack:
        current = stack.pop()
        kind = type(current)
        out.append(NUMBERS[kind] & 0x7F)
        if kind is ast.Name:
            out.append(0x80 | names.setdefault(current.id, len(names)) & 0x7F)  # type: ignore[attr-defined]
        elif kind is ast.Attribute:
            out.append(zlib.crc32(current.attr.encode("utf-8", "replace")) & 0xFF)  # type: ignore[attr-defined]
            stack.append(current.value)  # type: ignore[attr-defined]
        elif kind is ast.Constant:
            out.append(zlib.crc32(type(current.value).__name__.encode()) & 0xFF)  # type: ignore[attr-defined]
        elif kind is ast.arg:
            out.append(0x80 | names.setdefault(current.arg, len(names)) & 0x7F)  # type: ignore[attr-defined]
        elif isinstance(current, ast.FunctionDef | ast.AsyncFunctionDef):
            skip = ast.get_docstring(current, clean=False) is not None
            stack.extend(reversed([current.args, *current.body[skip:]]))
        else:
            if kind is ast.BinOp:
                out.append(NUMBERS[type(current.op)] & 0x7F)  # type: ignore[attr-defined]
            stack += children(current)[::-1]
    return bytes(out)


def winnow(shape: bytes) -> set[int]:
    """The fingerprints of a shape."""
    grams = [zlib.crc32(shape[start : start + GRAM]) for start in range(len(shape) - GRAM + 1)]
    return {min(grams[start : start + WINDOW]) for start in range(len(grams) - WINDOW + 1)}


def near_clones(shapes: list[tuple[Function, bytes]], look: Look) -> list[Json]:
    """Pairs in one file that are equal or similar; each function is told of its most similar predecessor only."""
    index: dict[int, list[int]] = defaultdict(list)
    prints: list[set[int]] = []
    findings: list[Json] = []
    for number, (function, shape) in enumerate(shapes):
        look()
        mine = winnow(shape)
        prints.append(mine)
        shared = Counter(other for one in mine if len(index[one]) <= CROWD for other in index[one])
        best, similarity = -1, 0.0
        for other, _ in shared.most_common(5):
            value = len(mine & prints[other]) / len(mine | prints[other])
            if value > similarity or (value == similarity and other < best):
                best, similarity = other, value
        for one in mine:
            index[one].append(number)
        lengths = sorted((len(shape), len(shapes[best][1])))
        inside = shapes[best][0].name == function.name.rpartition(".")[0]
        if similarity >= SIMILAR and lengths[0] >= SIMILAR * lengths[1] and not inside:
            same = shapes[best][1] == shape
            kind = "clone" if same else "near-clone"
            how = "has the same shape as" if same else f"is {similarity:.0%} like"
            line = shapes[best][0].node.lineno
            findings.append(
                finding(kind, function.node.lineno, f"{function.name} {how} {shapes[best][0].name} (line {line})")
            )
    return findings
