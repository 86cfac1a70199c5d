"""The event bus: every event to every subscriber, in order, bounded, and to the end."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import threading
from collections.abc import Awaitable

import pytest

from runtime.events.bus import EventBus
from runtime.events.queue import OverflowPolicy
from runtime.execution.state import ExecutionState
from runtime.model import Event, InterruptEvent, InterruptReason, InterruptSignal
from runtime.testing import real_time, run_virtual, virtual_time
from tests.unit.runtime.support import settle

INTERRUPT = InterruptEvent(signal=InterruptSignal(reason=InterruptReason.CUSTOM))


def event(number: int, kind: str = "n") -> Event:
    return Event(kind=kind, data={"n": number})


def numbers(events: list[Event]) -> list[int]:
    return [event.data["n"] for event in events if event.kind == "n"]


@virtual_time
async def test_everything_reaches_every_stream_in_one_order() -> None:
    """100 streams, 5 publishers that wait in between, one order for all."""
    bus = EventBus()
    streams = [bus.stream(limit=3) for _ in range(100)]

    async def read(number: int) -> list[int]:
        got = []
        async for one in streams[number]:
            got.append(one.seq)
            if number % 10 == 0:
                await asyncio.sleep(0)
        return got

    async def write() -> None:
        for number in range(20):
            await bus.publish(event(number))

    readers = [asyncio.create_task(read(number)) for number in range(100)]
    await asyncio.gather(*(write() for _ in range(5)))
    bus.close()
    for reader in readers:
        assert await reader == list(range(1, 101))


@virtual_time
async def test_a_stream_sees_what_is_published_before_it_is_first_read() -> None:
    bus = EventBus()
    stream = bus.stream()
    await bus.publish(event(1))
    assert (await anext(stream)).data == {"n": 1}
    bus.close()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


@pytest.mark.parametrize("when", ["before it is opened", "queued", "while it waits"])
@virtual_time
async def test_a_stream_yields_the_interrupt_and_ends(when: str) -> None:
    bus = EventBus()
    if when == "before it is opened":
        await bus.publish(INTERRUPT)
    stream = bus.stream()
    if when == "queued":
        await bus.publish(INTERRUPT)
        await bus.publish(event(1))
    elif when == "while it waits":
        asyncio.get_running_loop().call_later(1, bus.publish_nowait, INTERRUPT)
    assert [one.kind async for one in stream] == ["interrupt"]
    assert stream.closed


def test_subscribers_go_on_after_the_interrupt() -> None:
    """The end of an execution is an event too."""
    bus = EventBus()
    seen: list[Event] = []
    bus.subscribe(seen.append)
    bus.publish_nowait(INTERRUPT)
    bus.publish_nowait(event(1))
    assert [one.kind for one in seen] == ["interrupt", "n"]


@virtual_time
async def test_a_cancelled_consumer_closes_its_stream() -> None:
    bus = EventBus()
    stream = bus.stream()

    async def consume() -> None:
        async for _ in stream:
            pass

    task = asyncio.create_task(consume())
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stream.closed
    assert not bus._targets


@virtual_time
async def test_a_stream_that_is_left_or_forgotten_unsubscribes() -> None:
    bus = EventBus()
    async with bus.stream() as stream:
        assert len(bus._targets) == 1
    assert stream.closed
    forgotten = bus.stream()
    del forgotten
    gc.collect()
    assert not bus._targets


def test_a_stream_needs_a_loop() -> None:
    with pytest.raises(RuntimeError):
        EventBus().stream()


@virtual_time
async def test_kinds_are_filtered_but_never_the_interrupt() -> None:
    bus = EventBus()
    stream = bus.stream(kinds={"log"})
    seen: list[Event] = []
    bus.subscribe(seen.append, kinds={"log"})
    for one in (event(1), event(2, "log"), INTERRUPT):
        await bus.publish(one)
    assert [one.kind async for one in stream] == ["log", "interrupt"]
    assert [one.kind for one in seen] == ["log"]


# -- a full queue -------------------------------------------------------------------------------------------


@virtual_time
async def test_block_makes_the_publisher_wait() -> None:
    bus = EventBus()
    stream = bus.stream(policy=OverflowPolicy.BLOCK, limit=2)
    published: list[int] = []

    async def publish() -> None:
        for number in range(5):
            await bus.publish(event(number))
            published.append(number)

    task = asyncio.create_task(publish())
    await settle()
    assert published == [0, 1]
    await anext(stream)
    await settle()
    assert published == [0, 1, 2]
    got = [await anext(stream) for _ in range(4)]
    await task
    assert numbers(got) == [1, 2, 3, 4]
    assert stream.dropped == 0


@pytest.mark.parametrize("how", ["the stream is closed", "the bus is closed", "it is cancelled"])
@virtual_time
async def test_a_waiting_publisher_is_released(how: str) -> None:
    bus = EventBus()
    stream = bus.stream(limit=1)
    await bus.publish(event(0))
    task = asyncio.create_task(bus.publish(event(1)))
    await settle()
    assert not task.done()
    if how == "the stream is closed":
        stream.close()
    elif how == "the bus is closed":
        bus.close()
    else:
        task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() is (how == "it is cancelled")


@virtual_time
async def test_waiting_publishers_are_released_by_the_interrupt() -> None:
    bus = EventBus()
    stream = bus.stream(limit=1)
    await bus.publish(event(0))
    tasks = [asyncio.create_task(bus.publish(event(number))) for number in (1, 2)]
    await settle()
    bus.publish_nowait(INTERRUPT)
    await asyncio.gather(*tasks)
    assert [one.kind async for one in stream] == ["n", "n", "n", "interrupt"]


@virtual_time
async def test_who_cannot_wait_pushes_out_the_oldest() -> None:
    bus = EventBus()
    stream = bus.stream(policy=OverflowPolicy.BLOCK, limit=2)
    for number in range(5):
        bus.publish_nowait(event(number))
    bus.close()
    assert numbers([one async for one in stream]) == [3, 4]
    assert stream.dropped == 3


@pytest.mark.parametrize(
    ("policy", "kept", "dropped"), [(OverflowPolicy.DROP_OLDEST, [3, 4], 3), (OverflowPolicy.LATEST, [4], 4)]
)
@virtual_time
async def test_a_slow_consumer_loses_its_own_events_only(policy: OverflowPolicy, kept: list[int], dropped: int) -> None:
    bus = EventBus()
    slow = bus.stream(policy=policy, limit=2)
    other = bus.stream(limit=100)
    for number in range(5):
        await bus.publish(event(number))
    bus.close()
    assert numbers([one async for one in slow]) == kept
    assert slow.dropped == dropped
    assert numbers([one async for one in other]) == [0, 1, 2, 3, 4]


@virtual_time
async def test_the_interrupt_is_never_dropped() -> None:
    bus = EventBus()
    stream = bus.stream(policy=OverflowPolicy.LATEST)
    bus.publish_nowait(event(1))
    bus.publish_nowait(INTERRUPT)
    assert [one.kind async for one in stream] == ["n", "interrupt"]


@virtual_time
async def test_a_queue_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="limit must be"):
        EventBus().stream(limit=0)


# -- subscribers --------------------------------------------------------------------------------------------


@virtual_time
async def test_sync_and_async_subscribers_get_everything_in_order() -> None:
    bus = EventBus()
    sync_seen: list[Event] = []
    async_seen: list[Event] = []

    async def handler(one: Event) -> None:
        await asyncio.sleep(0)
        async_seen.append(one)

    bus.subscribe(sync_seen.append)
    bus.subscribe(handler)
    for number in range(10):
        await bus.publish(event(number))
    await bus.aclose()
    assert numbers(sync_seen) == numbers(async_seen) == list(range(10))


@pytest.mark.parametrize("closes_itself", [False, True])
def test_a_handler_that_turns_out_to_be_async_is_served_as_one(closes_itself: bool) -> None:
    """In order, one at a time, from a queue of its own; nothing is left un-awaited."""

    async def main() -> list[object]:
        bus = EventBus()
        story: list[object] = []

        async def slow(one: Event) -> None:
            story.append(one.data["n"])
            await asyncio.sleep(1)
            story.append("done")

        def handler(one: Event) -> Awaitable[None]:
            if closes_itself:
                subscription.close()
            return slow(one)

        subscription = bus.subscribe(handler)
        for number in range(2):
            await bus.publish(event(number))
        await settle()
        assert story == [0]
        await bus.aclose()
        return story

    assert run_virtual(main) == ([0, "done"] if closes_itself else [0, "done", 1, "done"])
    gc.collect()


def test_a_subscriber_that_raises_harms_nobody_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        bus = EventBus()
        seen: list[Event] = []

        def bad(one: Event) -> None:
            raise ValueError("bad sync")

        async def worse(one: Event) -> None:
            raise ValueError("bad async")

        bus.subscribe(bad)
        bus.subscribe(worse)
        bus.subscribe(seen.append)
        for number in range(2):
            await bus.publish(event(number))
        await bus.aclose()
        assert numbers(seen) == [0, 1]

    with caplog.at_level(logging.ERROR):
        run_virtual(main)
    assert caplog.text.count("ValueError: bad sync") == caplog.text.count("ValueError: bad async") == 2


def test_a_subscriber_that_comes_to_a_checkpoint_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """An interrupt is a BaseException; the others get the event all the same, the InterruptEvent above all."""

    async def main() -> None:
        async with ExecutionState() as state:
            seen: list[str] = []
            asked: list[str] = []

            async def looks(one: Event) -> None:
                asked.append(one.kind)
                await state.check_interrupt()

            state.event_bus.subscribe(lambda one: state.raise_if_interrupted())
            state.event_bus.subscribe(looks)
            state.event_bus.subscribe(lambda one: seen.append(one.kind))
            state.request_interrupt()
            state.emit("after")
            await settle()
            assert seen == asked
            assert set(seen) == {"interrupt", "after"}

    run_virtual(main)
    assert len(caplog.records) == 4


@pytest.mark.parametrize("consumer", ["stream", "subscriber"])
@virtual_time
async def test_who_publishes_into_its_own_full_queue_does_not_wait_for_itself(consumer: str) -> None:
    bus = EventBus()
    seen: list[Event] = []

    async def doubles(one: Event) -> None:
        seen.append(one)
        if one.kind == "n":
            for number in range(5):
                await bus.publish(event(number, "echo"))

    if consumer == "subscriber":
        subscription = bus.subscribe(doubles, limit=2)
        await bus.publish(event(1))
        await settle()
        await bus.aclose()
        assert subscription.dropped == 3
    else:
        stream = bus.stream(limit=2)
        await bus.publish(event(1))
        async for one in stream:
            await doubles(one)
            if one.data["n"] == 4:
                bus.close()
        assert stream.dropped == 3
    assert [one.data["n"] for one in seen] == [1, 3, 4]


@virtual_time
async def test_a_stream_has_one_reader_at_a_time() -> None:
    """Two would take turns at random, and one of them might never hear of the end."""
    bus = EventBus()
    stream = bus.stream()
    first = asyncio.ensure_future(anext(stream))
    await settle()
    with pytest.raises(RuntimeError, match="one task at a time"):
        await anext(stream)
    await bus.publish(event(1))
    assert (await first).data == {"n": 1}


def test_a_subscriber_that_publishes_does_not_change_the_order_of_others() -> None:
    bus = EventBus()
    seen: list[Event] = []

    def echo(one: Event) -> None:
        if one.kind == "n":
            bus.publish_nowait(event(one.data["n"], "echo"))

    bus.subscribe(echo)
    bus.subscribe(seen.append)
    bus.publish_nowait(event(1))
    bus.publish_nowait(event(2))
    assert [(one.kind, one.seq) for one in seen] == [("n", 1), ("echo", 2), ("n", 3), ("echo", 4)]


def test_a_subscriber_that_has_left_gets_nothing() -> None:
    bus = EventBus()
    seen: list[Event] = []
    subscription = bus.subscribe(seen.append)
    bus.publish_nowait(event(1))
    subscription.close()
    subscription.close()
    bus.publish_nowait(event(2))
    assert numbers(seen) == [1]
    assert subscription.dropped == 0


def test_an_async_subscriber_from_before_the_loop_is_served_in_it() -> None:
    bus = EventBus()
    seen: list[Event] = []

    async def handler(one: Event) -> None:
        seen.append(one)

    bus.subscribe(handler)
    bus.publish_nowait(event(1))

    async def main() -> None:
        await bus.publish(event(2))
        await bus.aclose()

    run_virtual(main)
    assert numbers(seen) == [1, 2]


def test_an_async_subscriber_that_hangs_does_not_hold_up_the_end(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        bus = EventBus()

        async def handler(one: Event) -> None:
            await asyncio.Event().wait()

        subscription = bus.subscribe(handler, policy=OverflowPolicy.LATEST)
        for number in range(4):
            await bus.publish(event(number))
            await settle()
        await bus.aclose(limit=3)
        assert asyncio.get_running_loop().time() == pytest.approx(1003)
        assert subscription.dropped == 2

    run_virtual(main)
    assert "did not finish" in caplog.text


# -- threads and the end ------------------------------------------------------------------------------------


@real_time
async def test_threads_may_publish() -> None:
    bus = EventBus()
    stream = bus.stream(limit=10_000)

    def publish() -> None:
        for number in range(100):
            bus.publish_nowait(event(number))

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    got = [await anext(stream) for _ in range(400)]
    assert [one.seq for one in got] == list(range(1, 401))
    for thread in threads:
        thread.join()


@real_time
async def test_another_threads_loop_may_publish() -> None:
    bus = EventBus()
    stream = bus.stream()
    await asyncio.to_thread(lambda: asyncio.run(bus.publish(event(1))))
    assert (await anext(stream)).data == {"n": 1}
    await asyncio.to_thread(bus.close)
    assert [one async for one in stream] == []


@virtual_time
async def test_closing_ends_every_stream_after_what_is_queued() -> None:
    bus = EventBus()
    waiting = [asyncio.ensure_future(anext(bus.stream(), None)) for _ in range(3)]
    await settle()
    full = bus.stream()
    await bus.publish(event(1))
    bus.close()
    bus.close()
    await bus.publish(event(2))
    assert numbers([one async for one in full]) == [1]
    assert [one.data if one else None for one in await asyncio.gather(*waiting)] == [{"n": 1}] * 3
    assert [one async for one in bus.stream()] == []
    bus.subscribe(lambda _: None)
    assert not bus._targets


def test_a_bus_outlives_its_loop() -> None:
    bus = EventBus()

    async def main() -> list[Event]:
        stream = bus.stream()
        await bus.publish(event(1))
        return [await anext(stream)]

    assert [one.seq for one in run_virtual(main) + run_virtual(main)] == [1, 2]
    bus.close()


def test_a_number_is_all_that_publishing_changes() -> None:
    """Also if a field is added to Event one day."""
    bus = EventBus()
    seen: list[Event] = []
    bus.subscribe(seen.append)
    values = {"kind": "k", "data": {"n": 1}, "address": "a", "state_id": "s", "seq": 7, "at": 3.0}
    assert values.keys() == {field.name for field in dataclasses.fields(Event)}
    bus.publish_nowait(Event(**values))  # type: ignore[arg-type]
    assert dataclasses.asdict(seen[0]) == {**values, "seq": 1}
