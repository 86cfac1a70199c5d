"""`--watch-host` against services of this machine that answer as the clouds do, late, wrongly, or not at all."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Supervisor
from tests.process.agents import plain
from tests.process.helpers import agent, jsonl, look
from tests.support import metadata_server as service
from tests.support.cli import Running, run_cli, start_cli
from tests.support.metadata_server import MetadataServer, azure_event, later, metadata_server
from tests.support.sync import AnnouncementPipe


@pytest.fixture
def cloud() -> Iterator[MetadataServer]:
    with metadata_server() as server:
        yield server


@pytest.fixture
def post(tmp_path: Path) -> Iterator[AnnouncementPipe]:
    with AnnouncementPipe(tmp_path / "post") as pipe:
        yield pipe


def hold(tmp_path: Path, cloud: MetadataServer, host: str, *options: str) -> Running:
    """Start a run whose one agent waits for its interrupt, and which watches this cloud."""
    source = jsonl(tmp_path / "in.jsonl", [{"post": str(tmp_path / "post")}])
    words = ["run", agent("parents:held"), "-i", str(source), "-w", "1", "-j", str(tmp_path / "j.db")]
    return start_cli(*words, "--watch-host", host, *options, env=cloud.environment)


def stop_of(tmp_path: Path) -> dict[str, Any]:
    (stop,) = look(tmp_path / "j.db").named("interrupt.requested")
    return stop


def test_aws_terminates_the_instance(tmp_path: Path, cloud: MetadataServer, post: AnnouncementPipe) -> None:
    """The graces are the two minutes, less what was used of them."""
    with hold(tmp_path, cloud, "aws") as running:
        post.expect(1)
        running.expect("host.watched")
        cloud.change(action={"action": "terminate", "time": later(120)})
        done = running.wait()
    assert done.returncode == 75, done
    stop = stop_of(tmp_path)
    assert (stop["reason"], stop["triggered_by"]) == ("system_shutdown", "host:aws")
    assert 60 < stop["grace"] + stop["term_grace"] < 117
    assert "AWS terminates this instance" in done.stderr
    assert look(tmp_path / "j.db").statuses() == {"1": "interrupted"}


def test_google_preempts_the_vm(tmp_path: Path, cloud: MetadataServer, post: AnnouncementPipe) -> None:
    """The answer comes when the value changes: nothing is polled."""
    with hold(tmp_path, cloud, "gcp", "--grace", "600") as running:
        post.expect(1)
        cloud.wait_for_requests("wait_for_change=true") if not _waits(cloud) else None
        cloud.change(preempted=True)
        done = running.wait()
    assert done.returncode == 75, done
    assert stop_of(tmp_path)["grace"] < 27
    assert len(cloud.seen) < 8, cloud.seen


def _waits(cloud: MetadataServer) -> bool:
    return any("wait_for_change" in line for line in cloud.seen)


def test_azure_evicts_the_vm(tmp_path: Path, cloud: MetadataServer, post: AnnouncementPipe) -> None:
    """An event of the VM's own, after one of another VM."""
    cloud.events = [azure_event(5, vm="worker_9")]
    with hold(tmp_path, cloud, "azure", "--grace", "2", "--term-grace", "1") as running:
        post.expect(1)
        cloud.wait_for_requests("scheduledevents", 2)
        cloud.change(events=[azure_event(5, vm="worker_9"), azure_event(9)])
        running.expect(r"dispatch\.paused|interrupt\.requested")
        done = running.wait()
    assert done.returncode == 75, done
    assert stop_of(tmp_path)["message"] == "Azure evicts this VM (Preempt)"


def test_azure_withdraws_its_notice(tmp_path: Path, cloud: MetadataServer) -> None:
    """Meanwhile tasks that run go on, and none begins; then all are executed."""
    cloud.events = [azure_event(3600)]
    source = jsonl(tmp_path / "in.jsonl", range(40))
    words = ["run", agent("plain:square_slowly"), "-i", str(source), "-w", "1", "-j", str(tmp_path / "j.db")]
    with start_cli(*words, "--watch-host", "azure", env=cloud.environment) as running:
        running.expect(r"dispatch\.paused")
        cloud.wait_for_requests("scheduledevents", 2)
        assert running.popen.poll() is None
        cloud.change(events=[])
        running.expect(r"dispatch\.resumed")
        done = running.wait()
    assert done.returncode == 0, done
    seen = look(tmp_path / "j.db")
    assert len(seen.values) == 40
    assert not seen.named("interrupt.requested")


def test_a_recommendation_of_aws_lets_tasks_end(tmp_path: Path, cloud: MetadataServer, post: AnnouncementPipe) -> None:
    with hold(tmp_path, cloud, "aws") as running:
        post.expect(1)
        cloud.change(rebalance={"noticeTime": later(0)})
        running.expect(r"dispatch\.paused")
        assert "interrupt.requested" not in running.stderr
        cloud.change(action={"action": "stop", "time": later(60)})
        done = running.wait()
    assert done.returncode == 75, done


def test_the_cloud_is_found_out(tmp_path: Path, cloud: MetadataServer, post: AnnouncementPipe) -> None:
    """Only Google's service answers: the others know no path of theirs."""
    cloud.fault = lambda handler: (
        "/computeMetadata/" not in handler.path
        and service.say(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")(handler)
    )
    with hold(tmp_path, cloud, "auto") as running:
        post.expect(1)
        running.expect("host.watched.*gcp")
        cloud.change(preempted=True)
        done = running.wait()
    assert done.returncode == 75, done
    assert stop_of(tmp_path)["triggered_by"] == "host:gcp"


FAULTS = {
    "hangs up": service.hang_up,
    "drips": service.drip,
    "a login page": service.say(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n<html>TRUE</htm"),
    "a redirect": service.say(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
    "an error": service.say(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"),
    "no HTTP": service.say(b"\x00\xff\r\n\r\n" * 10),
    "too long": service.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 300_000),
    "cut off": service.say(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nTRUE"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_service_that_fails_stops_nothing_and_is_asked_again(
    tmp_path: Path, cloud: MetadataServer, post: AnnouncementPipe, fault: str
) -> None:
    cloud.fault = FAULTS[fault]
    host = "aws" if fault == "a login page" else "gcp"
    with hold(tmp_path, cloud, host) as running:
        post.expect(1)
        running.expect(r"host\.watch_failed")
        assert "interrupt.requested" not in running.stderr
        cloud.change(fault=lambda _: False, preempted=True, action={"action": "stop", "time": later(60)})
        done = running.wait()
    assert done.returncode == 75, done
    assert len(look(tmp_path / "j.db").named("host.watch_failed")) == 1


def test_a_service_that_does_not_answer_delays_no_stop(
    tmp_path: Path, cloud: MetadataServer, post: AnnouncementPipe
) -> None:
    cloud.fault = service.drip
    with hold(tmp_path, cloud, "azure") as running:
        post.expect(1)
        cloud.wait_for_requests("/metadata/") if not cloud.seen else None
        running.send(signal.SIGTERM)
        done = running.wait()
    assert done.returncode == -signal.SIGTERM, done
    (end,) = look(tmp_path / "j.db").named("cleanup.verified")
    assert end["seconds"] < 10


def test_without_the_option_nothing_is_asked(tmp_path: Path, cloud: MetadataServer) -> None:
    source = jsonl(tmp_path / "in.jsonl", range(3))
    words = ["run", agent("plain:square_slowly"), "-i", str(source), "-w", "1", "-j", str(tmp_path / "j.db")]
    assert run_cli(*words, env=cloud.environment).returncode == 0
    assert run_cli("doctor", "-j", str(tmp_path / "j.db"), env=cloud.environment).returncode in (0, 1)
    assert cloud.seen == []


def test_a_program_watches_its_host(cloud: MetadataServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    with Supervisor(workers=1, watch_host="aws") as supervisor:
        assert sum(outcome.ok for outcome in supervisor.map(plain.square_slowly, range(3))) == 3
        deadline = time.monotonic() + 60
        while not cloud.seen and time.monotonic() < deadline:
            time.sleep(0.01)
    assert cloud.seen


@pytest.mark.parametrize(
    ("variable", "value", "host"),
    [
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "ftp://x", "aws"),
        ("GCE_METADATA_HOST", "a:b", "gcp"),
        ("AWS_EC2_METADATA_DISABLED", "true", "aws"),
    ],
)
def test_an_address_that_is_none_is_one_line(tmp_path: Path, variable: str, value: str, host: str) -> None:
    source = jsonl(tmp_path / "in.jsonl", [1])
    words = ["run", agent("parents:quick"), "-i", str(source), "-j", str(tmp_path / "j.db"), "--watch-host", host]
    done = run_cli(*words, env={variable: value})
    assert done.returncode == 2, done
    assert len(done.stderr.splitlines()) == 1
    assert variable in done.stderr
