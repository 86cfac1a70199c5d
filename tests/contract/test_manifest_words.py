"""No word changes on its way into a manifest, or becomes another line or option; what cannot be written is refused."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cli import app
from orchestrator.cli.run_command import parse
from orchestrator.integrations.kubernetes.manifest import Deployment, JournalVolume, job_documents, pod_documents
from orchestrator.integrations.kubernetes.yaml import dump
from runtime.errors import UsageError

NASTY = st.sampled_from(
    [
     "\\", "\n", "\r", "\u2028", "\u2029", "\x85", " ", "\t", '"', "'", "$", "$(HOME)", "$$", "$$(A)", ": ", " #", "#",
     "=", "\0", "\x1b", ":", "@", "- ", "-", "---", "...", "!", "!!binary", "&a", "*a", "{", "}", "[", "]", ",", "|",
     ">", "%YAML", "?", "~", "null", "true", "NO", "1e3", "0x1", "012", "1:30", "<<", "\udcff", "\ufeff", "\ufffe",
     "\U0001f600", "\u00a0", "\u202e", "ü", "a", "/", "{{ x }}", "command:",
    ]
)  # fmt: skip
TEXT = st.one_of(st.lists(NASTY, max_size=6).map("".join), st.text(max_size=8))
GOOD: dict[str, Any] = {
    "name": "r", "image": "example/quiesce:1", "command": ["quiesce", "run"], "grace": 20, "probe_port": 8080,
    "journal": JournalVolume("r-journal", "/data", "1Gi"),
}  # fmt: skip


def kubelet_argument(word: str) -> str:
    """Return a word of `command` as a kubelet hands it to the process: `$$` is `$`, `$(NAME)` is a variable.

    As in Kubernetes' expansion.Expand; no variable may be left over.
    """
    found, at = "", 0
    while at < len(word):
        if word[at] == "$" and at + 1 < len(word):
            assert word[at + 1] != "(", word
            found += "$" if word[at + 1] == "$" else word[at : at + 2]
            at += 2
        else:
            found += word[at]
            at += 1
    return found


def read(documents: list[Any]) -> list[Any]:
    """What the readers that podman's and kubectl's users have make of the text; both of PyYAML's must agree."""
    text = dump(*documents)
    loaded = list(yaml.safe_load_all(text))
    if hasattr(yaml, "CSafeLoader"):
        assert list(yaml.load_all(text, yaml.CSafeLoader)) == loaded
    return loaded


@given(words=st.lists(TEXT, max_size=4), path=TEXT, message=TEXT)
def test_text_comes_back_as_it_was(words: list[str], path: str, message: str) -> None:
    try:
        it = Deployment(**{
            **GOOD, "command": ["quiesce", *words], "termination_message": f"/m{message}",
            "journal": JournalVolume("r-journal", f"/d{path}", "1Gi"),
        })  # fmt: skip
    except UsageError:
        assert any("\0" in text or "\udcff" in text or not _is_utf8(text) for text in (*words, path, message)) or (
            ":" in path
        )
        return
    for documents, argument in ((job_documents(it), kubelet_argument), (pod_documents(it), str)):
        loaded = read(documents)
        assert loaded == documents
        last = loaded[-1]
        container = (last["spec"]["template"]["spec"] if last["kind"] == "Job" else last["spec"])["containers"][0]
        assert [argument(word) for word in container["command"]] == ["quiesce", *words]
        assert container["terminationMessagePath"] == f"/m{message}"
        assert container["volumeMounts"][1] == {"name": "journal", "mountPath": f"/d{path}"}


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@given(
    st.sampled_from(["image", "namespace", "config_map", "cpu", "claim", "size", "secret", "key"]),
    st.one_of(TEXT, st.from_regex(r"[a-z0-9A-Z.:/@-]{1,12}", fullmatch=True)),
)
def test_names_are_kept_or_refused(field: str, word: str) -> None:
    """Whatever is accepted is read back as the same, and is one word without blanks."""
    given: dict[str, Any] = dict(GOOD)
    try:
        if field in ("claim", "size", "secret", "key"):
            given["journal"] = {
                "claim": lambda: JournalVolume(word, "/data", None),
                "size": lambda: JournalVolume("c", "/data", word),
                "secret": lambda: JournalVolume(secret=(word, "url")),
                "key": lambda: JournalVolume(secret=("db", word)),
            }[field]()
        elif field == "cpu":
            given["resources"] = {"cpu": word}
        else:
            given[field] = word
        it = Deployment(**given)
    except UsageError:
        return
    assert word.isascii()
    assert word.isprintable()
    assert " " not in word
    for documents in (job_documents(it), pod_documents(it)):
        assert read(documents) == documents


@settings(max_examples=30)
@given(
    st.fixed_dictionaries(
        {"agent": TEXT, "--input": TEXT},
        optional={
            "--run-id": TEXT, "--name": TEXT, "--journal": TEXT.map(lambda text: f"/d/{text}"),
            "--termination-message": TEXT, "--priority-field": TEXT, "--probe-address": TEXT,
        },
    )
)  # fmt: skip
def test_the_command_that_is_printed_is_the_one_that_was_given(given: dict[str, str]) -> None:
    """What `quiesce run` makes of the printed words is what it would have made of the ones that were given."""
    printed: list[str] = []
    words = [f"{name}={value}" for name, value in given.items() if name.startswith("--")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.cli.stdout.print_all", printed.append)
        try:
            app(["manifest", "--image", "i", *words, "--", "--", given["agent"]], standalone_mode=False)
        except UsageError:
            return
    last = list(yaml.safe_load_all(printed[0]))[-1]
    command = [kubelet_argument(word) for word in last["spec"]["template"]["spec"]["containers"][0]["command"]]
    found = parse(command[2:], "quiesce run", remote_paths=True)
    assert (found.agent, found.sources) == (given["agent"], [given["--input"]])
    for name in ("--termination-message", "--priority-field", "--probe-address", "--run-id", "--journal"):
        if given.get(name):
            assert found.given[name[2:].replace("-", "_")] == given[name]
    expected = {"agent", "sources", "journal", "or_resume", "run_id", "host_grace", "probe_port", "probe_address"}
    expected |= {"log_format", "progress", *(name[2:].replace("-", "_") for name in given if name.startswith("--"))}
    assert set(found.given) <= expected - {"name", "input"}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--namespace", "a\nb"), "not a name in Kubernetes"), (("--namespace", "A"), "not a name in Kubernetes"),
        (("--image", "a b"), "not a reference"), (("--image", ""), "not a reference"),
        (("--cpu", "much"), "not a quantity"),
        (("--memory", "2GB"), "not a quantity"), (("--journal-size", "1 Gi"), "not a quantity"),
        (("--journal-claim", "-x"), "not a name"), (("--config-map", "a_b"), "not a name"),
        (("--journal-secret", "db/a b"), "not a key"), (("--journal-secret", "d b/url"), "not a name"),
        (("--input", "x\0"), "NUL"), (("--input", "x\udcff"), "UTF-8"), (("--journal", "/a:b/j.db"), "colon"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused(words: tuple[str, ...], why: str) -> None:
    arguments = ["manifest", "--image", "i", "--input", "/input/x", "app:agent", *words]
    with pytest.raises(UsageError, match=why):
        app(arguments, standalone_mode=False)


def test_an_agent_that_would_be_an_option_is_refused() -> None:
    with pytest.raises(UsageError, match=r"write \./-x\.py:f"):
        app(["manifest", "--image", "i", "--input", "/x", "--", "--", "-x.py:f"], standalone_mode=False)
