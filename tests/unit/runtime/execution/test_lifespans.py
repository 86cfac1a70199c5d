"""Lifespans: entered once, shared, left in reverse, interrupted in sync and in async code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import pytest

from runtime.agent_setup import make_setup
from runtime.agents import AgentInfo, AgentOptions
from runtime.errors import ExecutionInterrupted
from runtime.execution.lifespans import Lifespans, SetupError
from runtime.model import InterruptReason, InterruptSignal

STOP = InterruptSignal(reason=InterruptReason.USER_CANCELLED, message="stop")


def info(lifespan: Any = None, initializer: Any = None, *, asynchronous: bool = False) -> AgentInfo:
    return AgentInfo("work", asynchronous, AgentOptions(), make_setup(lifespan, initializer))


@pytest.fixture
def lifespans() -> Iterator[Lifespans]:
    opened = Lifespans()
    with asyncio.Runner() as runner:
        opened.open(runner)
        yield opened


class Ledger:
    """Makes lifespans that write down what they do."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def sync(self, name: str) -> Callable[[], Any]:
        @contextmanager
        def lifespan() -> Iterator[str]:
            self.lines.append(f"enter {name}")
            yield name
            self.lines.append(f"leave {name}")

        return lifespan

    def asynchronous(self, name: str) -> Callable[[], Any]:
        @asynccontextmanager
        async def lifespan() -> AsyncIterator[str]:
            async with asyncio.timeout(3600):  # must be left by the task that has entered it
                self.lines.append(f"enter {name}")
                yield name
                self.lines.append(f"leave {name}")

        return lifespan


@pytest.mark.parametrize("asynchronous", [False, True])
def test_lifespans_are_left_in_reverse(lifespans: Lifespans, asynchronous: bool) -> None:
    ledger = Ledger()
    a, b = ledger.sync("a"), ledger.asynchronous("b")
    assert lifespans.set_up(1, info(a, asynchronous=asynchronous)) == "a"
    assert lifespans.set_up(2, info(b, asynchronous=asynchronous)) == "b"
    assert lifespans
    lifespans.leave_all()
    assert ledger.lines == ["enter a", "enter b", "leave b", "leave a"]
    assert not lifespans


def test_agents_share_a_lifespan_until_the_last_is_dropped(lifespans: Lifespans) -> None:
    ledger = Ledger()
    model = ledger.sync("model")
    calls: list[str] = []
    first = partial(calls.append, "first")
    assert lifespans.set_up(1, info(model, first)) == lifespans.set_up(2, info(model, [first])) == "model"
    assert calls == ["first"]
    lifespans.leave(1)
    assert (lifespans.holds(1), lifespans.holds(2), ledger.lines) == (False, True, ["enter model"])
    lifespans.leave(2)
    assert ledger.lines == ["enter model", "leave model"]
    assert lifespans.set_up(2, info(model, first)) == "model"
    assert calls == ["first"]


def test_a_manager_that_is_both_is_entered_as_the_agent_is() -> None:
    class Both:
        def __enter__(self) -> str:
            return "sync"

        def __exit__(self, *_: object) -> None: ...

        async def __aenter__(self) -> str:
            return "async"

        async def __aexit__(self, *_: object) -> None: ...

    for asynchronous, value in ((False, "sync"), (True, "async")):
        opened = Lifespans()
        with asyncio.Runner() as runner:
            opened.open(runner)
            assert opened.set_up(1, info(Both, asynchronous=asynchronous)) == value
            opened.leave_all()


def test_a_set_up_is_interrupted_in_sync_code(lifespans: Lifespans) -> None:
    @contextmanager
    def model() -> Iterator[None]:
        assert lifespans.is_entering
        if not lifespans.cancel(STOP):
            raise ExecutionInterrupted(STOP)  # as the handler does then
        yield

    with pytest.raises(ExecutionInterrupted):
        lifespans.set_up(1, info(model))
    assert not lifespans
    assert not lifespans.is_entering


@pytest.mark.parametrize("kind", ["lifespan", "initializer"])
def test_a_set_up_is_cancelled_in_async_code(lifespans: Lifespans, kind: str) -> None:
    seen: list[str] = []

    async def wait() -> None:
        asyncio.get_running_loop().call_soon(lambda: seen.append(str(lifespans.cancel(STOP))))
        try:
            await asyncio.sleep(3600)
        finally:
            seen.append("cancelled")

    @asynccontextmanager
    async def model() -> AsyncIterator[None]:
        await wait()
        yield

    setup = info(model) if kind == "lifespan" else info(initializer=wait)
    with pytest.raises(ExecutionInterrupted, match="stop"):
        lifespans.set_up(1, setup)
    assert seen == ["True", "cancelled"]


def test_what_swallows_its_interrupt_is_the_last_thing_that_is_set_up(lifespans: Lifespans) -> None:
    ledger = Ledger()

    async def deaf() -> None:
        lifespans.cancel(STOP)
        asyncio.get_running_loop().call_soon(lambda: lifespans.cancel(STOP))
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return

    with pytest.raises(ExecutionInterrupted):
        lifespans.set_up(1, info(ledger.sync("model"), deaf))
    assert ledger.lines == []


def test_a_failure_names_function_exception_and_frames(lifespans: Lifespans) -> None:
    def load() -> None:
        raise ValueError("no such\nmodel")

    @asynccontextmanager
    async def model() -> AsyncIterator[None]:
        load()
        yield

    with pytest.raises(SetupError) as raised:
        lifespans.set_up(1, info(model, asynchronous=True))
    text = str(raised.value)
    assert text.startswith("cannot set up work: its lifespan ")
    assert "model raised ValueError: no such model (" in text
    assert text.endswith(" in load)")
    assert text.count("test_lifespans.py:") == 2
    assert "Traceback" in raised.value.detail


def test_an_end_that_fails_leaves_the_others(lifespans: Lifespans, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger()

    @contextmanager
    def broken() -> Iterator[None]:
        yield
        raise SystemExit("no end")

    lifespans.set_up(1, info(ledger.sync("a")))
    lifespans.set_up(2, info(broken))
    lifespans.leave_all()
    assert ledger.lines == ["enter a", "leave a"]
    assert "broken failed at its end: SystemExit: no end" in capsys.readouterr().err
