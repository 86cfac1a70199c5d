"""Stage `flow`: what happens to local variables on every path through a function.

Two classic analyses on the control flow graph, with sets as the bits of an int. Forward: which names may be,
and which must be, bound here. Backward: whose value may still be read (liveness).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from auditlib.cfg import ENTRY, Block, Graph, build
from auditlib.model import Function, Json, Look, Source, finding


def run(source: Source, look: Look) -> Json:
    """Analyse every function."""
    findings: list[Json] = []
    blocks = 0
    for function in source.functions:
        look()
        graph = build(function.node)
        blocks += len(graph.blocks)
        findings += [
            finding("unreachable", line, f"no path in {function.name} leads here") for line in sorted(graph.unreachable)
        ]
        findings += judge(function, graph)
    return {"flow": {"blocks": blocks}, "findings": findings}


@dataclass(frozen=True, slots=True)
class Locals:
    """The local names of a function, each with its bit."""

    bits: dict[str, int]

    @classmethod
    def of(cls, graph: Graph) -> Locals:
        """Every name that is bound in the function and not declared to be from outside."""
        bound = {name for block in graph.blocks for operation, name, _ in block.events if operation != "use"}
        return cls({name: 1 << number for number, name in enumerate(sorted(bound - graph.outer - graph.rebound))})

    @property
    def all(self) -> int:
        """Every bit."""
        return (1 << len(self.bits)) - 1


def judge(function: Function, graph: Graph) -> list[Json]:
    """What the two analyses find in one function."""
    names = Locals.of(graph)
    if not names.bits:
        return []
    order = reverse_postorder(graph.blocks)
    findings = list(unbound(function, graph, names, order))
    if not graph.dynamic:
        findings += dead_stores(function, graph, names, order)
    return findings


def reverse_postorder(blocks: list[Block]) -> list[int]:
    """The blocks that can be reached, each after those before it, as far as loops allow."""
    seen = {ENTRY}
    order: list[int] = []
    stack = [(ENTRY, iter(blocks[ENTRY].next))]
    while stack:
        block, following = stack[-1]
        after = next((one for one in following if one not in seen), None)
        if after is None:
            order.append(block)
            stack.pop()
        else:
            seen.add(after)
            stack.append((after, iter(blocks[after].next)))
    return order[::-1]


def unbound(function: Function, graph: Graph, names: Locals, order: list[int]) -> Iterator[Json]:
    """Names that are read where they cannot be bound, or are bound on some paths only (told once each)."""
    states = bindings(graph.blocks, names, order)
    told: set[str] = set()
    for number in sorted(order):
        maybe, surely = states[number]
        for operation, name, line in graph.blocks[number].events:
            bit = names.bits.get(name, 0)
            if operation == "use" and bit & ~surely and name not in told:
                told.add(name)
                if not bit & maybe:
                    yield finding("unbound-local", line, f"{name} in {function.name} is read before anything binds it")
                elif name not in graph.captured:
                    yield finding(
                        "maybe-unbound", line, f"{name} in {function.name} is not bound on every path to here"
                    )
            maybe, surely = step(operation, bit, maybe), step(operation, bit, surely)


def step(operation: str, bit: int, bound: int) -> int:
    """The bound names after an event."""
    if operation in {"def", "store"}:
        return bound | bit
    return bound & ~bit if operation in {"del", "gone"} else bound


def bindings(blocks: list[Block], names: Locals, order: list[int]) -> dict[int, tuple[int, int]]:
    """For each block the names that may be, and those that must be, bound at its start."""
    before: dict[int, list[int]] = {number: [] for number in order}
    effects: dict[int, tuple[int, int]] = {}
    for number in order:
        for after in blocks[number].next:
            before[after].append(number)
        made = gone = 0
        for operation, name, _ in blocks[number].events:
            bit = names.bits.get(name, 0)
            made, gone = step(operation, bit, made), gone & ~bit if operation in {"def", "store"} else gone
            gone |= bit if operation in {"del", "gone"} else 0
        effects[number] = made, gone
    start = {number: (0, 0 if number == ENTRY else names.all) for number in order}
    end = dict.fromkeys(order, (0, names.all))
    changed = True
    while changed:
        changed = False
        for number in order:
            maybe, surely = (0, 0) if number == ENTRY else (0, names.all)
            for one in before[number]:
                maybe, surely = maybe | end[one][0], surely & end[one][1]
            start[number] = maybe, surely
            made, gone = effects[number]
            result = maybe & ~gone | made, surely & ~gone | made
            if result != end[number]:
                end[number] = result
                changed = True
    return start


def dead_stores(function: Function, graph: Graph, names: Locals, order: list[int]) -> Iterator[Json]:
    """Values that are assigned and never read: of names nobody reads at all, and others."""
    reads = {name for block in graph.blocks for operation, name, _ in block.events if operation in {"use", "del"}}
    told: set[str] = set()
    lived = live_at_end(graph.blocks, names, order)
    lines: list[tuple[int, str]] = []
    for number in order:
        live = lived[number]
        for operation, name, line in reversed(graph.blocks[number].events):
            bit = names.bits.get(name, 0)
            if operation == "store" and bit & ~live and name not in graph.captured and not name.startswith("_"):
                lines.append((line, name))
            live = live | bit if operation in {"use", "del"} else live & ~bit
    for line, name in sorted(set(lines)):
        if name in reads:
            yield finding("dead-store", line, f"the value given to {name} in {function.name} is never read")
        elif name not in told:
            told.add(name)
            yield finding("unused-local", line, f"{name} in {function.name} is never read")


def live_at_end(blocks: list[Block], names: Locals, order: list[int]) -> dict[int, int]:
    """For each block the names whose value may still be read after it."""
    effects: dict[int, tuple[int, int]] = {}
    for number in order:
        used = bound = 0
        for operation, name, _ in blocks[number].events:
            bit = names.bits.get(name, 0)
            if operation in {"use", "del"}:
                used |= bit & ~bound
            bound |= bit if operation != "use" else 0
        effects[number] = used, bound
    start = dict.fromkeys(order, 0)
    end = dict.fromkeys(order, 0)
    changed = True
    while changed:
        changed = False
        for number in reversed(order):
            live = 0
            for after in blocks[number].next:
                live |= start[after]
            end[number] = live
            used, bound = effects[number]
            if (value := used | live & ~bound) != start[number]:
                start[number] = value
                changed = True
    return end
