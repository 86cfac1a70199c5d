"""What an undo command may be, and what its end means."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.ipc.undo import UndoCommand, judge, kept_environment, make_command, may_start, retry_delay

COMMAND = UndoCommand(kind="c", argv=["rm"], absent_codes=[44])


@pytest.mark.parametrize(
    ("code", "output"),
    [
        (1, "Error: No such container: x"),
        (1, "Error: no container with name or ID x found: no such container"),
        (1, "Error: no such volume x"),
        (1, 'Error from server (NotFound): pods "x" not found'),
        (1, "Error response from daemon: network x not found"),
        (1, "error: Domain not found: no domain with matching name 'x'"),
        (44, ""),
    ],
)
def test_nothing_to_remove_is_done(code: int, output: str) -> None:
    result = judge(COMMAND, code, output, 0.1)
    assert (result.done, result.found) == (True, False)


@pytest.mark.parametrize(
    ("code", "output", "error"),
    [
        (1, "Cannot connect to the Docker daemon", "exit code 1: Cannot connect to the Docker daemon"),
        (127, "docker: command not found", "exit code 127: docker: command not found"),
        (127, "no such container", "exit code 127: no such container"),
        (-9, "no such container", "signal 9: no such container"),
        (2, "a\nvolume is being used \n", "exit code 2: volume is being used"),
        (7, "", "exit code 7"),
    ],
)
def test_other_ends_are_failures(code: int, output: str, error: str) -> None:
    result = judge(COMMAND, code, output, 0.1)
    assert (result.done, result.error) == (False, error)


def test_success_is_done_whatever_it_says() -> None:
    assert judge(COMMAND, 0, "no such container", 1.5).found


@pytest.mark.parametrize(
    ("argv", "options", "error"),
    [
        ("docker rm x", {}, TypeError),
        ([], {}, ValueError),
        (["rm", 1], {}, TypeError),
        (["rm", "\udc80"], {}, ValueError),
        (["rm"], {"env": {"A=B": "1"}}, ValueError),
        (["rm"], {"timeout": 0}, ValueError),
        (["rm"], {"timeout": float("nan")}, ValueError),
        (["rm", "x" * (1 << 15)], {}, ValueError),
    ],
)
def test_what_no_process_could_be_started_with_is_refused(
    argv: Any, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match="undo"):
        make_command("container", argv, **options)


def test_the_environment_that_is_kept_has_no_secrets() -> None:
    environ = {
        "PATH": "/bin",
        "DOCKER_HOST": "tcp://h",
        "API_KEY": "s",
        "HOME": "/h",
        "TOKEN": "t",
        "XDG_RUNTIME_DIR": "/r",
    }
    kept = kept_environment(environ, {"MINE": "1"})
    assert kept == {"PATH": "/bin", "DOCKER_HOST": "tcp://h", "HOME": "/h", "XDG_RUNTIME_DIR": "/r", "MINE": "1"}


def test_delays_double_up_to_a_minute() -> None:
    assert [retry_delay(tries) for tries in (0, 1, 2, 3, 7, 10_000)] == [1, 1, 2, 4, 60, 60]


def test_the_order_of_removal() -> None:
    assert may_start([], 5.0)
    assert not may_start([None], 5.0)
    assert not may_start([4.5], 5.0)
    assert may_start([3.0, 4.0], 5.0)
