"""The LLM agent against its server, in one process and without waiting."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import llm
from llmlib import client, commands, server, tools
from runtime import ExecutionInterrupted, ExecutionState, RetryPolicy
from runtime.interrupts.interruptible import CancelOnInterrupt
from runtime.interrupts.supervisor_link import NullLink
from runtime.model import Event

FAST = server.Settings(first_word=0, word=0, failing=0, store=0)
TASK = {"key": "q1", "question": "How do subprocess pipes depend on signal.py?"}


class Recorder(NullLink):
    """A link that keeps events, and calls a function at each."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.on_event: Callable[[Event], object] = lambda _: None

    def emit(self, event: Event) -> None:
        self.events.append(event)
        self.on_event(event)

    def kinds(self) -> list[tuple[str, Any]]:
        return [(event.kind, event.data.get("phase")) for event in self.events]


@asynccontextmanager
async def model(settings: server.Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[server.Stats]:
    with server.Server(settings) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv(llm.URL, serving.url)
        try:
            yield serving.stats
            while serving.stats.open:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.001)
        finally:
            serving.shutdown()
            thread.join()


async def run(state: ExecutionState) -> dict[str, Any]:
    """What an executor does with an async agent."""
    try:
        async with CancelOnInterrupt(state):
            return await llm.answer(TASK, state)
    finally:
        await state.aclose()


@pytest.mark.anyio
async def test_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools, then the model, then the store; each is an event."""
    host = Recorder()
    async with model(FAST, monkeypatch) as stats:
        result = await run(ExecutionState(host=host))
    assert len(result["answer"].split()) >= 30
    assert list(result["notes"]) == ["search(subprocess)", "search(depend)", "measure(signal.py)"]
    assert stats.stored == {"q1": 1}
    kinds = host.kinds()
    assert kinds[0] == ("agent_call", "start")
    assert kinds[-1] == ("agent_call", "end")
    assert kinds.count(("tool_call", "end")) == 3
    assert kinds.count(("llm_call", "end")) == 1


@pytest.mark.anyio
async def test_it_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 500 is tried again, and the answer is the same."""
    monkeypatch.setattr(llm, "RETRIES", RetryPolicy(attempts=3, delay=0))
    host = Recorder()
    async with model(server.Settings(0, 0, failing=1, store=0), monkeypatch) as stats:
        first = await run(ExecutionState(host=host))
        second = await run(ExecutionState())
    assert stats.refused == 1
    assert ("llm_call", "retry") in host.kinds()
    assert first == second


@pytest.mark.anyio
async def test_interrupted_between_two_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait that Retry-After asks for ends at once when the state is interrupted."""
    host = Recorder()
    state = ExecutionState(host=host)
    host.on_event = lambda event: event.data.get("phase") == "retry" and state.request_interrupt()
    async with model(server.Settings(0, 0, capacity=0), monkeypatch):
        async with asyncio.timeout(0.4):  # the server asks for 0.5 s
            with pytest.raises(ExecutionInterrupted):
                await run(state)


@pytest.mark.anyio
async def test_interrupted_in_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream is closed, the tools' results are kept, and the next attempt calls no tool again."""
    host = Recorder()
    state = ExecutionState(host=host)
    host.on_event = lambda event: event.data.get("phase") == "stream" and state.request_interrupt()
    async with model(FAST, monkeypatch):
        with pytest.raises(ExecutionInterrupted):
            await run(state)
        assert state.active_generators == ()
        again = Recorder()
        resumed = await run(ExecutionState(host=again, snapshot=json.loads(json.dumps(state.snapshot))))
        assert resumed == await run(ExecutionState())
    assert ("tool_call", "start") not in again.kinds()


@pytest.mark.anyio
async def test_storing_is_not_cut_in_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt between the two steps of storing waits for the second."""
    async with model(server.Settings(0, 0, failing=0, store=0.05), monkeypatch) as stats:
        state = ExecutionState()
        task = asyncio.create_task(run(state))
        while not stats.begun:  # noqa: ASYNC110 - (likewise)
            await asyncio.sleep(0.001)
        state.request_interrupt()
        with pytest.raises(ExecutionInterrupted):
            await task
        assert stats.begun == stats.stored == {"q1": 1}


@pytest.mark.anyio
async def test_bad_requests_do_not_hurt_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown paths and bodies that are not JSON get a 4xx."""
    async with model(FAST, monkeypatch):
        url = os.environ[llm.URL]
        assert (await client.post(url, "/v1/stats", {}))["stored"] == {}
        with pytest.raises(client.Refused, match="404"):
            await client.post(url, "/nothing", {})
        with pytest.raises(client.Refused, match="400"):
            await client.post(url, "/v1/complete", ["no prompt"])


def test_completion_follows_from_the_prompt() -> None:
    """The same words for the same prompt."""
    assert server.completion("a") == server.completion("a") != server.completion("b")


@pytest.mark.anyio
async def test_tools() -> None:
    """A tool that cannot do it says so in its result, which a model can read; that is no failed task."""

    async def checkpoint() -> None: ...

    assert (await tools.measure("signal.py", checkpoint))["lines"] > 10
    assert "error" in await tools.measure("nothing.py", checkpoint)
    places = await tools.search("import", checkpoint)
    assert len({place.partition(":")[0] for place in places}) == 5


def test_every_question_of_the_demonstration_has_three_tools() -> None:
    """Two searches and a file; no key twice."""
    questions = list(commands.questions(50))
    assert len({question["key"] for question in questions}) == 50
    assert all(len(tools.plan(question["question"])) == 3 for question in questions)
