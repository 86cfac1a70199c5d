"""What the answers of three clouds mean, and what of a change is news."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from orchestrator.core import stimuli
from orchestrator.host_watch import aws, azure, gcp
from orchestrator.host_watch.notices import CALM, Answer, CloudHost, Notice, UnusableAnswerError, news

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC).timestamp()
TOKEN = "token=="


class Service:
    """Answers by path; a path that is not there is 404. Keeps what was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str, Mapping[str, str]]] = []

    def __call__(self, method: str, path: str, headers: Mapping[str, str], _seconds: float) -> Answer:
        self.asked.append((method, path, headers))
        found = next((value for name, value in self.answers.items() if name in path.replace("-", "_")), None)
        status, text, more = (404, "", {}) if found is None else found if isinstance(found, tuple) else (200, found, {})
        return Answer(status, more, text if isinstance(text, bytes) else text.encode())


# -- AWS -----------------------------------------------------------------------------------------------------


def test_aws_is_asked_with_a_token_which_is_kept() -> None:
    host, service = aws.AwsHost(), Service(token=TOKEN)
    assert host.look(service, NOW) == host.look(service, NOW) == CALM
    assert [method for method, _, _ in service.asked].count("PUT") == 1
    assert service.asked[0][2] == {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
    assert all(
        headers == {"X-aws-ec2-metadata-token": TOKEN} for method, _, headers in service.asked if method == "GET"
    )


def test_aws_is_asked_for_a_new_token_when_it_refuses_the_old_one() -> None:
    host, service = aws.AwsHost(), Service(token=TOKEN)
    host.look(service, NOW)
    service.answers |= {"token": "new", "instance_action": (401, "", {})}
    with pytest.raises(UnusableAnswerError, match="HTTP 401"):
        host.look(service, NOW)
    assert service.asked[-1][2] == {"X-aws-ec2-metadata-token": "new"}


def test_aws_without_tokens_is_asked_as_in_its_first_version() -> None:
    host, service = aws.AwsHost(), Service(instance_action='{"action": "stop", "time": "2026-11-27T12:01:00Z"}')
    assert host.look(service, NOW).ends_at == NOW + 60
    assert service.asked[-1][2] == {}


@pytest.mark.parametrize(
    ("action", "time", "left"),
    [
        ("terminate", "2026-11-27T12:02:00Z", 120),
        ("stop", "2026-11-27T12:00:30Z", 30),
        ("hibernate", "2026-11-27T11:59:00Z", 0),
        ("terminate", "2099-01-01T00:00:00Z", 120),
    ],
)
def test_aws_gives_two_minutes_at_most(action: str, time: str, left: float) -> None:
    text = json.dumps({"action": action, "time": time})
    notice = aws.AwsHost().look(Service(token=TOKEN, instance_action=text), NOW)
    assert notice.ends_at == NOW + left
    assert not notice.revocable


def test_a_recommendation_of_aws_is_no_notice() -> None:
    service = Service(token=TOKEN, rebalance='{"noticeTime": "2026-11-27T11:00:00Z"}')
    notice = aws.AwsHost().look(service, NOW)
    assert (notice.ends_at, notice.is_expected) == (None, True)


NONSENSE = ["", "null", "[]", "{}", "<html>Log in</html>", '{"action": 1, "time": 2}', "[" * 5000, "\0", "TRUE"]


@pytest.mark.parametrize(
    "text",
    [*NONSENSE, '{"action": "terminate", "time": "soon"}', '{"action": "smile", "time": "2026-11-27T12:00:00Z"}'],
)
def test_nonsense_is_no_notice_of_aws(text: str) -> None:
    with pytest.raises(UnusableAnswerError):
        aws.AwsHost().look(Service(token=TOKEN, instance_action=text), NOW)
    with pytest.raises(UnusableAnswerError):
        aws.AwsHost().look(Service(token=TOKEN, rebalance=text), NOW)


@pytest.mark.parametrize("token", ["", "two\nlines", "x" * 5000, (500, "no", {}), (302, "", {"location": "/login"})])
def test_nonsense_is_no_token(token: Any) -> None:
    with pytest.raises(UnusableAnswerError):
        aws.AwsHost().look(Service(token=token), NOW)


# -- Google Cloud --------------------------------------------------------------------------------------------


def test_gcp_is_asked_at_once_and_then_for_a_change() -> None:
    host, service = gcp.GcpHost(), Service(preempted=(200, "FALSE", {"etag": "a/1"}))
    assert host.look(service, NOW) == CALM
    service.answers["preempted"] = (200, "TRUE\n", {"etag": "b"})
    assert host.look(service, NOW).ends_at == NOW + 30
    paths = [path.partition("?")[2] for _, path, _ in service.asked]
    assert paths == ["", "wait_for_change=true&timeout_sec=30&last_etag=a%2F1"]
    assert all(headers == {"Metadata-Flavor": "Google"} for _, _, headers in service.asked)


@pytest.mark.parametrize("text", [*NONSENSE[:-1], b"\xff", "1", "TRUEISH", (404, "TRUE", {}), (302, "TRUE", {})])
def test_nonsense_is_no_preemption(text: Any) -> None:
    with pytest.raises(UnusableAnswerError):
        gcp.GcpHost().look(Service(preempted=text), NOW)


# -- Azure ---------------------------------------------------------------------------------------------------


def event(kind: str = "Preempt", **fields: Any) -> dict[str, Any]:
    return {
        "EventType": kind, "Resources": ["vm_1"], "EventStatus": "Scheduled",
        "NotBefore": "Fri, 27 Nov 2026 12:00:45 GMT", **fields,
    }  # fmt: skip


def look_at(*events: dict[str, Any], name: str | None = "VM_1") -> Notice:
    service = Service(scheduledevents=json.dumps({"DocumentIncarnation": 1, "Events": events}))
    if name is not None:
        service.answers["compute/name"] = name
    return azure.AzureHost().look(service, NOW)


@pytest.mark.parametrize("kind", ["Preempt", "Terminate", "Reboot", "Redeploy"])
def test_an_event_that_ends_the_vm_is_a_notice_that_may_be_withdrawn(kind: str) -> None:
    notice = look_at(event(kind))
    assert (notice.ends_at, notice.revocable) == (NOW + 45, True)


def test_an_event_that_has_started_is_not_withdrawn() -> None:
    notice = look_at(event(EventStatus="Started", NotBefore=""))
    assert (notice.ends_at, notice.revocable) == (NOW, False)


@pytest.mark.parametrize("other", [event("Freeze"), event(Resources=["vm_2"]), event("Sunset")])
def test_other_events_are_none(other: dict[str, Any]) -> None:
    assert look_at(other) == CALM


def test_the_event_that_comes_first_counts() -> None:
    notice = look_at(event(NotBefore="2026-11-27T12:10:00Z"), event("Reboot"), event("Freeze", NotBefore=""))
    assert notice.ends_at == NOW + 45


def test_each_event_may_be_about_a_vm_whose_name_is_not_known() -> None:
    assert look_at(event(), name=None).ends_at == NOW + 45


@pytest.mark.parametrize(
    "text", [*NONSENSE, '{"Events": {}}', '{"Events": [1]}', json.dumps({"Events": [event(NotBefore="soon")]})]
)
def test_nonsense_is_no_event(text: str) -> None:
    with pytest.raises(UnusableAnswerError):
        azure.AzureHost().look(Service(scheduledevents=text), NOW)


# -- any -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [aws.AwsHost, gcp.GcpHost, azure.AzureHost])
@given(status=some.integers(100, 599), body=some.binary(max_size=200))
def test_any_answer_is_read_or_refused(make: Any, status: int, body: bytes) -> None:
    host: CloudHost = make()
    answer: Any = (status, body, {})
    service = Service(token=TOKEN, instance_action=answer, rebalance=answer, preempted=answer, scheduledevents=answer)
    with suppress(UnusableAnswerError):
        assert host.look(service, NOW).ends_at is None or body


ENDS, SOON = Notice("it ends", NOW + 60), Notice("it may end", is_expected=True)
REVOCABLE = Notice("it ends", NOW + 60, revocable=True)
ANNOUNCED = stimuli.HostEndAnnounced(60.0, "it ends", "host:x")
EXPECTED = stimuli.HostEndExpected("it may end", "host:x")
WITHDRAWN = stimuli.HostEndWithdrawn("x has withdrawn its notice", "host:x")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (CALM, CALM, []),
        (CALM, SOON, [EXPECTED]),
        (SOON, SOON, []),
        (SOON, CALM, [WITHDRAWN]),
        (CALM, ENDS, [ANNOUNCED]),
        (SOON, ENDS, [ANNOUNCED]),
        (ENDS, ENDS, []),
        (ENDS, Notice("it ends", NOW + 60.5), []),
        (ENDS, CALM, [WITHDRAWN]),
        (ENDS, SOON, [WITHDRAWN, EXPECTED]),
        (REVOCABLE, ENDS, [ANNOUNCED]),
        (ENDS, Notice("it ends", NOW + 30), [stimuli.HostEndAnnounced(30.0, "it ends", "host:x")]),
    ],
)
def test_only_a_change_is_news(before: Notice, after: Notice, expected: list[stimuli.Stimulus]) -> None:
    assert news(before, after, "x", NOW) == expected
