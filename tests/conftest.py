"""What every test gets without asking: stacks when stuck, and a seedable and quiet hypothesis."""

from __future__ import annotations

import gc
import signal
from collections.abc import Generator
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.control_sockets import keep_control_sockets_apart
from tests.support.dispositions import reset_ignored_signals
from tests.support.examples import FULL
from tests.support.private_shm import make_private_shm
from tests.support.stacks import dump_and_kill_children

# how fast values are made is a matter of what else the machine does
settings.register_profile(
    "ci",
    deadline=None,
    database=None,
    max_examples=FULL,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)
settings.register_profile("dev", settings.get_profile("ci"), max_examples=FULL // 10)
# New examples each time, and many. Not in CI: one that was never tried must not refuse a change of something else.
settings.register_profile("explore", settings.get_profile("ci"), max_examples=10 * FULL, derandomize=False)
settings.load_profile("ci")  # `scripts/test unit` takes the other one


def pytest_configure() -> None:
    """Let programs under test obey the stop signals, and keep their shared memory apart from that of other programs."""
    reset_ignored_signals()
    make_private_shm()
    keep_control_sockets_apart()


def pytest_collection_finish() -> None:
    """Keep what collection has made out of every later look of the garbage collector: it stays to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _children_dump_their_stacks() -> Generator[None]:
    """Children write the stacks of all threads when they crash or are aborted (see tests.support.stacks)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONFAULTHANDLER", "1")
        yield


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio: it is what executors run."""
    return "asyncio"


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer() -> Generator[None, Any, Any]:
    """When a test's time is up, its children tell what they were doing before pytest-timeout fails it."""
    done = yield
    fail = signal.getsignal(signal.SIGALRM)

    def tell_then_fail(number: int, frame: FrameType | None) -> None:
        dump_and_kill_children()
        if callable(fail):
            fail(number, frame)

    if callable(fail):
        signal.signal(signal.SIGALRM, tell_then_fail)
    return done
