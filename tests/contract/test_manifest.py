"""The printed Job and Pod: held against the schemas of the API, and against what a run needs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

import kubernetes_validate
import pytest
import yaml

from orchestrator.cli import app
from orchestrator.config import Settings
from runtime.errors import UsageError

COMMAND = ("app.agents:summarise", "--input", "/input/tasks.jsonl")
VERSIONS = ("1.31.0", kubernetes_validate.latest_version())


def documents(capsys: pytest.CaptureFixture[str], *words: str, command: Sequence[str] = COMMAND) -> list[Any]:
    app(["manifest", "--image", "example/quiesce:1", *words, *command], standalone_mode=False)
    return list(yaml.safe_load_all(capsys.readouterr().out))


def last(capsys: pytest.CaptureFixture[str], *words: str, command: Sequence[str] = COMMAND) -> Any:
    return documents(capsys, *words, command=command)[-1]


def pod_of(document: Any) -> Any:
    return document["spec"]["template"]["spec"] if document["kind"] == "Job" else document["spec"]


def words_of(document: Any) -> list[str]:
    words: list[str] = pod_of(document)["containers"][0]["command"]
    return words


def option(document: Any, name: str) -> str:
    words = words_of(document)
    return words[words.index(name) + 1]


def rules_of(job: Any) -> list[Any]:
    rules: list[Any] = job["spec"]["podFailurePolicy"]["rules"]
    return rules


def action_on(job: Any, code: int) -> str | None:
    """What happens on an exit code, as the Job controller reads the rules."""
    for rule in rules_of(job):
        if code in rule.get("onExitCodes", {}).get("values", []):
            action: str = rule["action"]
            return action
    return None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--pod",),
        ("--journal-secret", "db/url", "--namespace", "batch"),
        ("--config-map", "tasks", "--cpu", "500m", "--memory", "2Gi", "--backoff-limit", "0", "--user", "1000"),
        ("--journal-claim", "mine", "--interrupted-exit-code", "0"),
        ("--interrupted-exit-code", "1"),
        ("--spot",),
        ("--spot", "--pod"),
        ("--indexed", "8", "--parallelism", "2", "--input", "/input/part-%a.jsonl"),
        ("--indexed", "8", "--interrupted-exit-code", "1", "--input", "/input/part-%a.jsonl", "--spot"),
    ],
)
def test_the_api_accepts_it(version: str, words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    for document in documents(capsys, *words):
        kubernetes_validate.validate(document, version, strict=True)


def test_the_grace_covers_the_ladder_and_the_run_is_told_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    job = last(capsys, "--grace", "40", "--term-grace", "20s")
    granted = pod_of(job)["terminationGracePeriodSeconds"]
    settings = Settings(grace=40, term_grace=20, host_grace=granted)
    assert settings.fit(40, 20).fits
    assert option(job, "--host-grace") == str(granted)


def test_a_grace_that_the_host_dictates_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    job = last(capsys, "--host-grace", "25")
    assert pod_of(job)["terminationGracePeriodSeconds"] == 25
    assert words_of(job).count("--host-grace") == 1


def test_exit_codes_mean_what_they_mean(capsys: pytest.CaptureFixture[str]) -> None:
    job = last(capsys)
    assert [action_on(job, code) for code in (1, 2)] == ["FailJob", "FailJob"]  # final: a new Pod changes nothing
    assert [action_on(job, code) for code in (129, 130, 143)] == ["Ignore"] * 3  # a stop was requested
    assert action_on(job, 75) == "Count"  # a deadline, a limit: again, but not for ever
    assert action_on(job, 137) is None  # SIGKILL, out of memory: counted, as without a rule
    assert rules_of(job)[0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert pod_of(job)["restartPolicy"] == "Never"
    assert job["spec"]["podReplacementPolicy"] == "Failed"


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_an_interrupted_exit_code_of_ones_own_is_counted(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    job = last(capsys, "--interrupted-exit-code", str(code))
    assert action_on(job, code) == (None if code == 0 else "Count")
    assert action_on(job, 143) is None


def test_a_pod_on_a_spot_node_has_its_15_seconds(capfd: pytest.CaptureFixture[str]) -> None:
    app(["manifest", "--image", "i", "--spot", *COMMAND], standalone_mode=False)
    printed = capfd.readouterr()
    job = list(yaml.safe_load_all(printed.out))[-1]
    assert pod_of(job)["terminationGracePeriodSeconds"] == 15
    assert option(job, "--host-grace") == "15"
    assert "gives a Pod 15 s" in printed.err
    assert len(printed.err.splitlines()) == 1
    settings = Settings(host_grace=15)
    assert settings.ladder.total <= 12
    keys = {term["key"] for term in pod_of(job)["tolerations"]}
    terms = pod_of(job)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert {each["matchExpressions"][0]["key"] for each in terms["nodeSelectorTerms"]} == keys
    assert "cloud.google.com/gke-spot" in keys


@pytest.mark.parametrize(
    ("words", "grace"),
    [(("--grace", "5", "--term-grace", "2"), 14), (("--host-grace", "60"), 60), (("--grace", "0"), 12)],
)
def test_graces_that_fit_on_a_spot_node_are_kept(
    words: Sequence[str], grace: int, capfd: pytest.CaptureFixture[str]
) -> None:
    app(["manifest", "--image", "i", "--spot", *words, *COMMAND], standalone_mode=False)
    printed = capfd.readouterr()
    assert pod_of(list(yaml.safe_load_all(printed.out))[-1])["terminationGracePeriodSeconds"] == grace
    assert printed.err == ""


PART = ("app.agents:summarise", "--input", "/input/part-%a.jsonl")


def test_each_index_has_its_input_run_journal_and_failures(capsys: pytest.CaptureFixture[str]) -> None:
    claim, job = documents(capsys, "--indexed", "8", "--parallelism", "3", "--backoff-limit", "2", command=PART)
    spec = job["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 8, 3)
    assert spec["backoffLimitPerIndex"] == 2
    assert "backoffLimit" not in spec
    index = "$(JOB_COMPLETION_INDEX)"
    assert option(job, "--input") == f"/input/part-{index}.jsonl"
    assert option(job, "--run-id") == f"part-{index}"
    assert option(job, "--journal") == f"/data/quiesce-{index}.db"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert {code: action_on(job, code) for code in (1, 2, 75, 143, 137)} == {
        1: "FailIndex", 2: "FailJob", 75: "Count", 143: "Ignore", 137: None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--indexed", "2", *COMMAND), "every Pod would have the same input"),
        (("--parallelism", "2", *COMMAND), "give --indexed N, too"),
        (("--indexed", "2", "--pod", *PART), "prints one Pod"),
    ],
)
def test_an_indexed_job_that_makes_no_sense_is_refused(words: Sequence[str], why: str) -> None:
    with pytest.raises(UsageError, match=re.escape(why)):
        app(["manifest", "--image", "i", *words], standalone_mode=False)


@pytest.mark.parametrize("words", [(), ("--interrupted-exit-code", "0"), ("--interrupted-exit-code", "143")])
def test_no_rule_is_empty_or_unordered(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The API refuses that, and its schema does not say so."""
    values = [rule["onExitCodes"]["values"] for rule in rules_of(last(capsys, *words)) if "onExitCodes" in rule]
    assert all(each and each == sorted(set(each)) and 0 not in each for each in values)


def test_dollars_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """A kubelet makes the container's home of $(HOME), and $ of $$; podman 4.3 takes words as they are."""
    odd = ("app.agents:summarise", "--input", "/input/$(HOME) $$ $x.jsonl")
    job, pod = last(capsys, command=odd), last(capsys, "--pod", command=odd)
    assert option(job, "--input") == "/input/$$(HOME) $$$$ $$x.jsonl"
    assert option(pod, "--input") == odd[-1]


def test_a_pod_for_podman_may_be_asked_from_within_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert option(last(capsys, "--pod", "--probe-address", "127.0.0.1"), "--probe-address") == "127.0.0.1"


def test_nothing_is_privileged(capsys: pytest.CaptureFixture[str]) -> None:
    pod = pod_of(last(capsys))
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_probes_ask_where_the_run_listens(capsys: pytest.CaptureFixture[str]) -> None:
    job = last(capsys, "--probe-port", "9100")
    container = pod_of(job)["containers"][0]
    paths = {"startupProbe": "/startupz", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    assert {name: container[name]["httpGet"] for name in paths} == {
        name: {"path": path, "port": 9100} for name, path in paths.items()
    }
    assert option(job, "--probe-port") == "9100"
    assert option(job, "--probe-address") == "*"


def test_a_plain_pod_needs_neither_curl_nor_ports(capsys: pytest.CaptureFixture[str]) -> None:
    container = pod_of(last(capsys, "--pod"))["containers"][0]
    assert "ports" not in container
    assert container["livenessProbe"]["exec"]["command"][-2:] == ["8080", "/livez"]
    assert all(re.fullmatch(r"[\w./-]+", word) for word in container["livenessProbe"]["exec"]["command"])


def test_the_journal_lives_on_a_new_claim_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    claim, job = documents(capsys, "--name", "nightly")
    assert claim["metadata"]["name"] == "nightly-journal"
    assert {"name": "journal", "persistentVolumeClaim": {"claimName": "nightly-journal"}} in pod_of(job)["volumes"]
    assert {"name": "journal", "mountPath": "/data"} in pod_of(job)["containers"][0]["volumeMounts"]
    assert option(job, "--journal") == "/data/quiesce.db"
    assert option(job, "--run-id") == "nightly"
    assert "--or-resume" in words_of(job)


def test_the_journal_may_live_on_a_claim_that_exists(capsys: pytest.CaptureFixture[str]) -> None:
    (job,) = documents(capsys, "--journal-claim", "mine", "--journal", "/srv/j/runs.db")
    assert {"name": "journal", "mountPath": "/srv/j"} in pod_of(job)["containers"][0]["volumeMounts"]


def test_the_journal_may_be_a_database_whose_url_a_secret_holds(capsys: pytest.CaptureFixture[str]) -> None:
    (job,) = documents(capsys, "--journal-secret", "db/dsn")
    container = pod_of(job)["containers"][0]
    assert {
        "name": "QUIESCE_JOURNAL",
        "valueFrom": {"secretKeyRef": {"name": "db", "key": "dsn"}},
    } in container["env"]
    assert "--journal" not in container["command"]
    assert [mount["name"] for mount in container["volumeMounts"]] == ["tmp"]


def test_a_database_without_a_password_may_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    (job,) = documents(capsys, "--journal", "postgresql://db/runs")
    assert option(job, "--journal") == "postgresql://db/runs"
    assert [mount["name"] for mount in pod_of(job)["containers"][0]["volumeMounts"]] == ["tmp"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--journal", "postgresql://me:secret@db/runs"), "password"),
        (("--journal", "runs.db"), "absolute path"),
        (("--journal-secret", "db", "--journal-claim", "mine"), "holds the URL"),
        (("--journal", "/tmp/runs.db"), "lost with the Pod"),
        (("--journal", "/data/../tmp/runs.db"), "lost with the Pod"),
        (("--journal", "/input/runs.db", "--config-map", "tasks"), "read-only"),
        (("--journal-secret", "/url"), "NAME/KEY"),
        (("--probe-port", "0"), "unknown port"),
        (("--probe-address", "127.0.0.1"), "from outside"),
        (("--name", "---"), "makes no name"),
    ],
)
def test_what_makes_no_sense_is_refused(words: Sequence[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=why):
        documents(capsys, *words)


def test_a_stream_cannot_be_an_input(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="--input FILE"):
        documents(capsys, command=("app:agent",))


def test_the_options_of_run_come_through_wherever_they_stand(capsys: pytest.CaptureFixture[str]) -> None:
    job = last(capsys, "--workers", "4", command=("--retries=2", *COMMAND, "-i", "/other.jsonl"))
    assert option(job, "--workers") == "4"
    assert option(job, "--retries") == "2"
    words = words_of(job)
    inputs = [value for name, value in itertools.pairwise(words) if name == "--input"]
    assert inputs == ["/input/tasks.jsonl", "/other.jsonl"]
    assert words_of(job)[:3] == ["quiesce", "run", "app.agents:summarise"]


@pytest.mark.parametrize(
    ("given", "name"), [("Nightly Run_7", "nightly-run-7"), ("x" * 80, "x" * 52), ("-a.b-", "a-b")]
)
def test_names_are_made_fit_for_dns(given: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert last(capsys, "--name", given)["metadata"]["name"] == name
