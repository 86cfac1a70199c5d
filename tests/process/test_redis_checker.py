"""The Redis checker against a real server."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import ExecutionInterrupted
from runtime.execution.state import ExecutionState
from runtime.interrupts.checkers import RedisChecker
from runtime.model import InterruptReason, InterruptSignal
from runtime.testing import real_time
from tests.support.wait import wait_until

redis = pytest.importorskip("redis", reason="the extra `redis` is not installed")
SERVER = shutil.which("redis-server")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server on a socket in the test's own directory; nothing is written to disk."""
    if SERVER is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    path = str(tmp_path / "redis.sock")
    command = [SERVER, "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:

        def answers() -> bool:
            with socket.socket(socket.AF_UNIX) as probe:
                return probe.connect_ex(path) == 0

        wait_until(answers, what="redis-server listens")
        yield process, path
        process.kill()


def client(path: str) -> Any:
    return redis.Redis(unix_socket_path=path, socket_timeout=5)


@real_time
async def test_a_key_interrupts(server: tuple[subprocess.Popen[bytes], str]) -> None:
    wanted = InterruptSignal(reason=InterruptReason.PRIORITY_OVERRIDE, message="make room", triggered_by="scheduler")
    with client(server[1]) as connection, client(server[1]) as operator:
        async with ExecutionState() as state:
            state.set_interrupt_checker(RedisChecker(connection, "stop:42"), min_interval=0)
            await state.check_interrupt()
            operator.set("stop:42", "0")
            await state.check_interrupt()
            for nonsense in ("{}", "[]", "<html>", "later, please"):
                operator.set("stop:42", nonsense)
                await state.check_interrupt()
            operator.delete("stop:42")
            operator.rpush("stop:42", "true")  # of another type: the server refuses
            await state.check_interrupt()
            operator.delete("stop:42")
            operator.set("stop:42", '{"interrupt_requested": false}')
            await state.check_interrupt()
            operator.set("stop:42", wanted.model_dump_json())
            with pytest.raises(ExecutionInterrupted) as caught:
                await state.check_interrupt()
            assert caught.value.signal == wanted


def test_a_server_that_dies_does_not_harm_the_work(
    server: tuple[subprocess.Popen[bytes], str], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        with client(server[1]) as connection:
            async with ExecutionState() as state:
                state.set_interrupt_checker(RedisChecker(connection, "stop"), min_interval=0)
                await state.check_interrupt()
                server[0].kill()
                server[0].wait()
                await state.check_interrupt()
                await state.check_interrupt()

    asyncio.run(main())
    assert caplog.text.count("the interrupt checker failed") == 1


@real_time
async def test_a_server_that_hangs_does_not_hold_up_the_work(server: tuple[subprocess.Popen[bytes], str]) -> None:
    """SIGSTOPped: it takes the question and never answers. A local request gets through meanwhile."""
    with client(server[1]) as connection:
        async with ExecutionState() as state:
            state.set_interrupt_checker(RedisChecker(connection, "stop"), time_limit=60)
            server[0].send_signal(signal.SIGSTOP)
            try:
                asyncio.get_running_loop().call_later(0.05, state.request_interrupt)
                with pytest.raises(ExecutionInterrupted, match="user_cancelled"):
                    await state.check_interrupt()
            finally:
                server[0].send_signal(signal.SIGCONT)
