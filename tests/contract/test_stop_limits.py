"""The table of time limits, the ladder that is built from it, and what README and docs promise are the same numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.core.settings import RunSettings
from runtime import stop_limits as limits

ROOT = Path(__file__).parents[2]
NUMBERS = {"two": 2.0, "three": 3.0, "five": 5.0, "ten": 10.0, "one": 1.0, "half a second": 0.5}

PROMISES = [
    ("README.md", r"at most `--grace` \+ `--term-grace` \+ ([\d.]+) s", limits.KILL_TIMEOUT),
    ("docs/stopping.md", r"At most `grace` \+ `term_grace` \+ ([\d.]+) s", limits.KILL_TIMEOUT),
    ("docs/stopping.md", r"`grace` \+ `term_grace` \+ ([\d.]+) s \+ \(N - \d+\)", limits.KILL_TIMEOUT),
    ("docs/stopping.md", r"`--grace` \(([\d.]+) s\)", limits.GRACE),
    ("docs/stopping.md", r"`--term-grace` \(([\d.]+) s\)", limits.TERM_GRACE),
    ("docs/stopping.md", r"a whole search takes at most ([\d.]+) s", limits.ENVIRONMENTS_TIMEOUT),
    ("docs/stopping.md", r"\(N - (\d+)\) . \d+ ms, and the host", limits.FEW_EXECUTORS),
    ("docs/stopping.md", r"\(N - \d+\) . (\d+) ms, and the host", 1000 * limits.SECONDS_PER_EXECUTOR),
    ("docs/stopping.md", r"with more than (\d+) the bound is", limits.FEW_EXECUTORS),
    ("docs/stopping.md", r"Of those two seconds (one) is for executors", limits.KILL_SHARE * limits.KILL_TIMEOUT),
    (
        "docs/stopping.md",
        r"and ([\d.]+) for the last look",
        limits.LOOK_SHARE * (1 - limits.KILL_SHARE) * limits.KILL_TIMEOUT,
    ),
    ("docs/stopping.md", r"what is left of the bound, (three) seconds at most", limits.LOOK_TIMEOUT),
    ("docs/stopping.md", r"as long as they do, (two) seconds at most", limits.SWEEP_END_TIMEOUT),
    ("docs/stopping.md", r"Up to (ten) more where the last results", limits.JOURNAL_TIMEOUT),
    ("docs/stopping.md", r"leaves first\. \| ([\d.]+) s; 10 s", limits.KILL_SHARE * limits.KILL_TIMEOUT),
    ("docs/stopping.md", r"; ([\d.]+) s where one executor goes down the ladder", limits.ABANDON_TIMEOUT),
    ("docs/stopping.md", r"down the ladder alone, ([\d.]+) s at the end of a run", limits.KILL_TIMEOUT),
    ("docs/stopping.md", r"still there ([\d.]+) s after its SIGKILL", limits.ABANDON_TIMEOUT),
    ("docs/stopping.md", r"SIGTERM, (half a second), SIGKILL, and a warning", limits.STRAY_GRACE),
    ("docs/stopping.md", r"it is replaced after ([\d.]+) s \(`guardian\.held`\)", limits.GUARDIAN_TIMEOUT),
    ("docs/stopping.md", r"the supervisor takes over after ([\d.]+) s", limits.GUARDIAN_TIMEOUT_IN_STOP),
    ("docs/stopping.md", r"the sentinel ends the guardian (half a second) after", limits.SENTINEL_MARGIN),
    ("docs/systemd.md", r"`--grace` \+ `--term-grace` \+ ([\d.]+) s", limits.KILL_TIMEOUT),
    ("docs/systemd.md", r"`--grace` \+ `--term-grace` \+ \d s \+ ([\d.]+) s", limits.HOST_MARGIN),
    ("docs/systemd.md", r"for (ten) seconds more for the last sweep", limits.SERVICE_MARGIN),
]


@pytest.mark.parametrize(("document", "pattern", "seconds"), PROMISES, ids=[pattern for _, pattern, _ in PROMISES])
def test_the_documents_name_the_numbers_of_the_table(document: str, pattern: str, seconds: float) -> None:
    words = " ".join((ROOT / document).read_text().split())
    found = re.findall(pattern, words)
    assert found, "the sentence is gone: adapt it here, too"
    assert [NUMBERS[number] if number in NUMBERS else float(number) for number in found] == pytest.approx([seconds])


@pytest.mark.parametrize("executors", [1, 64, 65, 1000])
def test_a_stop_lasts_as_long_as_the_documents_say(executors: int) -> None:
    sum_of_table = limits.GRACE + limits.TERM_GRACE + limits.KILL_TIMEOUT
    sum_of_table += max(0, executors - limits.FEW_EXECUTORS) * limits.SECONDS_PER_EXECUTOR
    ladder = RunSettings(workers=executors).ladder
    assert ladder.total == pytest.approx(sum_of_table)
    assert ladder.for_stop.total == pytest.approx(sum_of_table)


def test_each_wait_fits_into_the_wait_for_the_process_that_waits() -> None:
    sweep_of_a_crowd = limits.SENTINEL_REAP_TIMEOUT + limits.CROWD_TIMEOUT + limits.CROWD_KILL_TIMEOUT
    assert sweep_of_a_crowd < limits.SWEEP_TIMEOUT
    assert limits.LOOK_TIMEOUT < limits.SWEEP_TIMEOUT
    assert limits.CGROUP_TIMEOUT < limits.GUARDIAN_EXIT_TIMEOUT
    assert limits.GUARDIAN_TIMEOUT < limits.ABANDON_TIMEOUT
    last_look = limits.KILL_TIMEOUT * (1 - limits.KILL_SHARE)
    assert limits.LOOK_SHARE * last_look > limits.SENTINEL_REAP_TIMEOUT + limits.SWEEP_KILL_MARGIN
    assert limits.DESCENDANTS_TIMEOUT < limits.KILL_SHARE * limits.KILL_TIMEOUT
    assert limits.GUARDIAN_TIMEOUT_IN_STOP <= limits.KILL_SHARE * limits.KILL_TIMEOUT
    assert limits.ENVIRONMENTS_TIMEOUT < limits.SWEEP_TIMEOUT
    assert limits.STACKS_TIMEOUT + limits.DESCENDANTS_TIMEOUT < limits.KILL_SHARE * limits.KILL_TIMEOUT
    assert limits.LEAST_KILL_TIMEOUT < limits.KILL_TIMEOUT


def test_each_limit_is_defined_in_the_table_alone_and_used() -> None:
    source = {
        path: path.read_text()
        for folder in ("runtime", "orchestrator")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "stop_limits.py"
    }
    for name in filter(str.isupper, vars(limits)):
        assert not [path for path, text in source.items() if re.search(rf"^{name}\b.*=", text, re.MULTILINE)], name
        assert any(re.search(rf"\b{name}\b", text) for text in source.values()), f"{name} is used nowhere"
