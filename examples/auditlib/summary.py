"""What all files together say: pure functions from results to the rows of a report."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from auditlib.graph import cycles
from auditlib.model import Json

TESTS = {"test", "tests", "idle_test"}
SMALL = 150
"""Files with fewer lines of code are not ranked by density."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The results of a run, sorted by key, and the tasks that have none."""

    files: dict[str, Json]
    missing: dict[str, str] = field(default_factory=dict)
    """Key to status and error, of tasks that are not completed."""


def summarise(rows: Iterable[Json]) -> Summary:
    """Read the rows of `quiesce results --json`. Raises KeyError for something else."""
    files: dict[str, Json] = {}
    missing: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: str(row["key"])):
        if row["status"] == "completed":
            files[row["key"]] = row["value"]
        else:
            missing[row["key"]] = f"{row['status']}: {row.get('error') or ''}".rstrip(": ")
    return Summary(files, missing)


def is_test(key: str) -> bool:
    """Whether a file is test code."""
    *folders, name = key.split("/")
    return bool(TESTS.intersection(folders)) or name.startswith(("test_", "_test"))


def without_tests(summary: Summary) -> Summary:
    """The same without test code."""
    return Summary({key: value for key, value in summary.files.items() if not is_test(key)}, summary.missing)


def readable(summary: Summary) -> Iterator[tuple[str, Json]]:
    """The files that could be parsed."""
    return ((key, value) for key, value in summary.files.items() if value["readable"])


def totals(summary: Summary) -> dict[str, int]:
    """The big numbers."""
    counts: Counter[str] = Counter(files=len(summary.files))
    for _, value in readable(summary):
        counts["lines"] += value["lines"]["total"]
        counts["lines of code"] += value["lines"]["code"]
        counts["lines of documentation"] += value["lines"]["documentation"] + value["lines"]["comment"]
        counts["functions"] += value["functions"]["count"]
        counts["classes"] += value["classes"]
        counts["blocks of control flow"] += value["flow"]["blocks"]
    counts["findings"] = sum(len(value["findings"]) for value in summary.files.values())
    return dict(counts)


@dataclass(frozen=True, slots=True)
class Package:
    """One row of the table of packages."""

    name: str
    files: int
    code: int
    functions: int
    complexity: float
    """Mean over its functions."""
    documented: float
    """Share of the public things that have a docstring."""
    findings: int


def packages(summary: Summary) -> list[Package]:
    """By lines of code. Modules that are in no package are one row."""
    groups: dict[str, list[Json]] = defaultdict(list)
    for key, value in readable(summary):
        groups[key.partition("/")[0] if "/" in key else "(single modules)"].append(value)
    rows = [package(name, values) for name, values in groups.items()]
    return sorted(rows, key=lambda row: (-row.code, row.name))


def package(name: str, values: list[Json]) -> Package:
    """The sums of one package."""
    functions = sum(value["functions"]["count"] for value in values)
    wanted = sum(value["docstrings"]["wanted"] for value in values)
    return Package(
        name=name,
        files=len(values),
        code=sum(value["lines"]["code"] for value in values),
        functions=functions,
        complexity=sum(value["functions"]["complexity"] for value in values) / max(functions, 1),
        documented=sum(value["docstrings"]["documented"] for value in values) / max(wanted, 1),
        findings=sum(len(value["findings"]) for value in values),
    )


def worst_functions(summary: Summary, limit: int) -> list[tuple[str, Json]]:
    """The most complex functions."""
    every = [(key, function) for key, value in readable(summary) for function in value["functions"]["worst"]]
    return sorted(every, key=lambda one: (-one[1]["complexity"], one[0], one[1]["line"]))[:limit]


def worst_files(summary: Summary, limit: int) -> list[tuple[str, float, int, str]]:
    """Key, findings per 1,000 lines of code, findings, the most frequent kinds. Notes in comments do not count."""
    rows = []
    for key, value in readable(summary):
        kinds = Counter(one["kind"] for one in value["findings"] if one["kind"] != "note")
        code = value["lines"]["code"]
        if code >= SMALL and kinds:
            frequent = ", ".join(
                f"{count} {kind}" for kind, count in sorted(kinds.items(), key=lambda k: (-k[1], k[0]))[:3]
            )
            rows.append((key, 1000 * kinds.total() / code, kinds.total(), frequent))
    return sorted(rows, key=lambda row: (-row[1], row[0]))[:limit]


@dataclass(frozen=True, slots=True)
class Imports:
    """The import graph. Edges are those that are followed as a module starts, so that cycles are real ones."""

    most_imported: list[tuple[str, int, int]]
    """Module, how many files import it as they start, how many import it at all."""
    cycles: list[list[str]]
    third_party: list[tuple[str, int]]


def imports(summary: Summary, limit: int) -> Imports:
    """Who imports whom."""
    known = {value["module"] for _, value in readable(summary)}
    edges: dict[str, list[str]] = {name: [] for name in known}
    start: Counter[str] = Counter()
    ever: Counter[str] = Counter()
    foreign: Counter[str] = Counter()
    for _, value in readable(summary):
        at_start = set(targets(value, known, start_only=True)) - {value["module"]}
        edges[value["module"]] = sorted(at_start)
        start.update(at_start)
        ever.update(set(targets(value, known, start_only=False)) - {value["module"]})
        foreign.update({one["module"].partition(".")[0] for one in value["imports"] if one["origin"] == "third party"})
    ranked = sorted(ever, key=lambda name: (-start[name], -ever[name], name))
    return Imports(
        most_imported=[(name, start[name], ever[name]) for name in ranked[:limit]],
        cycles=cycles({name: edges[name] for name in sorted(edges)}),
        third_party=sorted(foreign.items(), key=lambda one: (-one[1], one[0])),
    )


def targets(value: Json, known: set[str], *, start_only: bool) -> Iterator[str]:
    """The modules that a file imports. `from a import b` is `a.b` where that is a module, else `a`."""
    for one in value["imports"]:
        if start_only and one["when"] != "start":
            continue
        submodules = [f"{one['module']}.{name}" for name in one["names"] if f"{one['module']}.{name}" in known]
        yield from submodules
        if one["module"] and len(submodules) < max(len(one["names"]), 1):
            yield one["module"]


def duplicates(summary: Summary, limit: int) -> list[tuple[int, list[str]]]:
    """Functions of the same shape in different files: size in nodes, and the places. The most to gain first."""
    places: dict[tuple[int, str], list[tuple[str, int, str]]] = defaultdict(list)
    for key, value in readable(summary):
        for name, line, size, print_ in value["prints"]:
            places[size, print_].append((key, line, name))
    groups = [(size, where) for (size, _), where in places.items() if len({key for key, _, _ in where}) > 1]
    groups.sort(key=lambda group: (-group[0] * (len(group[1]) - 1), group[1]))
    return [(size, [f"{key}:{line} {name}" for key, line, name in where]) for size, where in groups[:limit]]


def by_kind(summary: Summary, examples: int) -> list[tuple[str, int, list[str]]]:
    """Each kind of finding, how many, and a few examples, each from another file if possible."""
    found: dict[str, list[tuple[str, Json]]] = defaultdict(list)
    for key, value in summary.files.items():
        for one in value["findings"]:
            found[one["kind"]].append((key, one))
    rows = []
    for kind, ones in found.items():
        firsts = list({key: (key, one) for key, one in reversed(ones)}.values())[::-1]
        chosen = firsts[:: max(len(firsts) // examples, 1)][:examples]
        rows.append((kind, len(ones), [f"{key}:{one['line']} {one['text']}" for key, one in chosen]))
    return sorted(rows, key=lambda row: (-row[1], row[0]))
