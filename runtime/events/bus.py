"""The event bus: what is published reaches every open stream and every subscriber, in one order.

Theory. Publishing numbers an event and puts it into every consumer's own bounded queue in one step, so all see
one order; only then does a publisher that can wait do so, for the queues that chose back-pressure. A consumer is
a `Stream` (you pull) or a `Subscription` (a callback is pushed to: a sync one at once, an async one by a task).

A bus serves one event loop at a time, the first that listens or publishes; other threads may publish, and their
events are handed over to it. Without a loop, sync subscribers are called by the publishing thread; of an interrupt
that a signal handler requests, by a thread of its own (see `ExecutionState.set_signal`). A flag that the supervisor
raises in shared memory is published at the next look at it: no thread waits for it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Container, Generator
from dataclasses import replace
from functools import partial
from typing import Any

from runtime.events.queue import OverflowPolicy, SubscriberQueue
from runtime.events.subscribers import Handler, Stream, Subscription, is_async
from runtime.frozen import freeze
from runtime.interrupts.loop_waker import call_soon_threadsafe_or_false, running_loop
from runtime.interrupts.sleep import CompletedAwaitable
from runtime.limits import check_seconds
from runtime.model import Event, InterruptEvent
from runtime.native import RLock

log = logging.getLogger("quiesce.bus")

_Target = tuple[Container[str] | None, SubscriberQueue | Subscription]
_OURS = frozenset({Event, InterruptEvent})
_FROZEN_FIELDS = frozenset(field.name for field in dataclasses.fields(InterruptEvent))

_Publisher = asyncio.Task[Any] | None
"""The task that can wait for room, if there is one."""


class EventBus:
    """Deliver events to streams and subscribers. See the module for the rules. `close()` ends every stream."""

    def __init__(self) -> None:
        self.closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = RLock()
        self._seq = 0
        self._targets: dict[object, _Target] = {}
        self._backlog: deque[tuple[Event, _Publisher]] = deque()
        self._delivering = False
        self._interrupt: InterruptEvent | None = None
        self._once: list[InterruptEvent] = []
        self._delivered: list[InterruptEvent] = []
        self._pending_subscribers: list[Subscription] = []
        self._pumps: set[asyncio.Task[None]] = set()
        self._on_bind: dict[object, Callable[[], object]] = {}

    # -- listening ----------------------------------------------------------------------------------

    def stream(
        self, *, kinds: Container[str] | None = None, policy: OverflowPolicy = OverflowPolicy.BLOCK, limit: int = 1024
    ) -> Stream:
        """Everything published from now on (only `kinds`, and always the InterruptEvent), in order.

        `limit` events are queued at most; `policy` says what happens then. On a bus that has been interrupted
        it yields the InterruptEvent and ends. Needs a running event loop, else RuntimeError.
        """
        asyncio.get_running_loop()
        self._bind()
        outlet = SubscriberQueue(policy, limit, ends_on_interrupt=True)
        stream = Stream(outlet, self._add_target(kinds, outlet))
        if self._interrupt is not None:
            outlet.put(self._interrupt, patient=False)
        if self.closed:
            outlet.close()
        return stream

    def subscribe(
        self,
        handler: Handler,
        *,
        kinds: Container[str] | None = None,
        policy: OverflowPolicy = OverflowPolicy.BLOCK,
        limit: int = 1024,
    ) -> Subscription:
        """Call `handler(event)` for everything published from now on (only `kinds`), in order.

        A sync handler is called at once, so it must be quick. An async one (or one that turns out to return
        something to await, as a lambda does) has its own queue of `limit` events and its own task, once there is an
        event loop; `policy` says what a full queue does.
        """
        outlet = SubscriberQueue(policy, limit, ends_on_interrupt=False)
        subscription = Subscription(handler, outlet)
        target = outlet if is_async(handler) else subscription
        subscription.on_close = leave = self._add_target(kinds, target)
        subscription.on_awaitable = partial(self._make_async, leave, kinds, subscription, outlet)
        if self.closed:
            outlet.close()
        if target is outlet:
            self._pump(subscription)
        return subscription

    def _make_async(
        self,
        leave: Callable[[], None],
        kinds: Container[str] | None,
        subscription: Subscription,
        outlet: SubscriberQueue,
    ) -> None:
        """Serve a handler as an async one from now on: it has returned an awaitable without looking async."""
        leave()
        if not outlet.closed:  # it may have closed its own subscription
            subscription.on_close = self._add_target(kinds, outlet)
        self._pump(subscription)

    def _pump(self, subscription: Subscription) -> None:
        with self._lock:
            self._pending_subscribers.append(subscription)
        self._bind()

    def _add_target(self, kinds: Container[str] | None, target: SubscriberQueue | Subscription) -> Callable[[], None]:
        key = object()
        if not self.closed:
            self._targets[key] = (kinds, target)

        def leave() -> None:
            self._targets.pop(key, None)

        return leave

    # -- publishing ---------------------------------------------------------------------------------

    async def publish(self, event: Event) -> None:
        """Publish, and wait while a queue that chose `OverflowPolicy.BLOCK` is full. Nothing on a closed bus."""
        event = _frozen(event)
        self._bind()
        if self._loop is not asyncio.get_running_loop():
            self.publish_nowait(event)
            return
        publisher = asyncio.current_task()
        self._deliver(event, publisher)
        for _, target in tuple(self._targets.values()):
            if isinstance(target, SubscriberQueue) and target.full and target.reader is not publisher:
                await target.wait_not_full()

    def publish_soon(self, event: Event) -> Awaitable[None]:
        """Publish at once if there is room or the caller cannot wait; else when the returned awaitable is awaited.

        An awaitable that is dropped instead publishes like `publish_nowait`: a sync function may ignore it.
        """
        if self._loop is running_loop() is not None and self._is_full:
            return Publication(self, _frozen(event))
        self.publish_nowait(event)
        return CompletedAwaitable()

    @property
    def _is_full(self) -> bool:
        return any(
            isinstance(target, SubscriberQueue)
            and target.policy is OverflowPolicy.BLOCK
            and len(target) >= target.limit
            for _, target in self._targets.values()
        )

    def publish_nowait(self, event: Event) -> None:
        """Publish without waiting, from any thread; a queue that is full loses its oldest event."""
        event = _frozen(event)
        self._bind()
        if self._loop is None or self._loop is running_loop():
            self._deliver(event, None)
            return
        call_soon_threadsafe_or_false(self._loop, self._deliver, event, None)

    def post_once(self, event: InterruptEvent) -> None:
        """Publish like `publish_nowait`, but each event only once, in any thread and at any time.

        So two threads may publish the same event without waiting for each other.
        """
        self._once.append(event)
        self.publish_nowait(event)

    @property
    def is_served_by_publishers(self) -> bool:
        """Return whether there are subscribers but no event loop, so that only a publisher's own thread can deliver."""
        return bool(self._targets) and (self._loop is None or self._loop.is_closed())

    def _deliver(self, event: Event, publisher: _Publisher) -> None:
        with self._lock:
            self._backlog.append((event, publisher))
            if self._delivering:  # a handler published: its event comes after the one it was called for
                return
            self._delivering = True
            try:
                while self._backlog:
                    self._deliver_one(*self._backlog.popleft())
            finally:
                self._delivering = False

    def _deliver_one(self, event: Event, publisher: _Publisher) -> None:
        if self.closed:
            return
        if isinstance(event, InterruptEvent) and not self._is_first(event):
            return
        self._seq += 1
        event = _numbered(event, self._seq)
        if isinstance(event, InterruptEvent):
            self._interrupt = self._interrupt or event
        for kinds, target in tuple(self._targets.values()):
            if isinstance(target, SubscriberQueue):
                if kinds is None or event.kind in kinds or isinstance(event, InterruptEvent):
                    target.put(event, patient=publisher is not None and publisher is not target.reader)
            elif kinds is None or event.kind in kinds:
                target.call(event)

    def _is_first(self, event: InterruptEvent) -> bool:
        """Whether an event of `post_once` is delivered for the first time. Only with the lock."""
        if all(posted is not event for posted in self._once):
            return True
        if any(delivered is event for delivered in self._delivered):
            return False
        self._delivered.append(event)
        return True

    # -- the loop -----------------------------------------------------------------------------------

    def on_bind(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Have `callback` called in each event loop that this bus comes to serve, at once if it serves this one.

        Returns its remover.
        """
        key = object()
        self._on_bind[key] = callback
        if self._loop is not None and self._loop is running_loop():
            callback()

        def remove() -> None:
            self._on_bind.pop(key, None)

        return remove

    def _bind(self) -> None:
        if (self._loop is None or self._loop.is_closed()) and self._take_loop():
            for callback in tuple(self._on_bind.values()):
                callback()
        if self._pending_subscribers and self._loop is not None and self._loop is running_loop():
            with self._lock:
                waiting, self._pending_subscribers = self._pending_subscribers, []
            for subscription in waiting:
                task = asyncio.create_task(subscription.run(), name="quiesce-subscriber")
                self._pumps.add(task)
                task.add_done_callback(self._pumps.discard)

    def _take_loop(self) -> bool:
        """Serve the loop that runs here, unless another thread's was quicker. Whether that has changed anything."""
        with self._lock:
            if self._loop is not None and not self._loop.is_closed():
                return False
            self._loop = running_loop()
            return self._loop is not None

    # -- the end ------------------------------------------------------------------------------------

    def close(self) -> None:
        """End every stream and subscription once it has read what is queued. Idempotent; from any thread."""
        if (
            self._loop is None
            or self._loop is running_loop()
            or not call_soon_threadsafe_or_false(self._loop, self._close)
        ):
            self._close()

    def _close(self) -> None:
        self.closed = True
        for _, target in tuple(self._targets.values()):
            if isinstance(target, SubscriberQueue):
                target.close()
        self._targets.clear()

    async def aclose(self, limit: float = 5.0) -> None:
        """Close, and let async subscribers finish what is queued, for `limit` seconds; then they are cancelled."""
        check_seconds("limit", limit)
        self.close()
        pumps = {task for task in self._pumps if task is not asyncio.current_task()}
        if not pumps or self._loop is not asyncio.get_running_loop():
            return
        _, late = await asyncio.wait(pumps, timeout=limit)
        for task in late:
            task.cancel()
        if late:
            log.warning("%d subscribers of the event bus did not finish within %g s", len(late), limit)
            await asyncio.wait(late, timeout=limit)


def _frozen(event: Event) -> Event:
    """As it is now, for good: events freeze their data themselves, but a program's own kind may have more fields."""
    if type(event) in _OURS:
        return event
    fields = {field.name: freeze(getattr(event, field.name)) for field in dataclasses.fields(event) if field.init}
    return replace(event, **{name: value for name, value in fields.items() if name not in _FROZEN_FIELDS})


def _numbered(event: Event, seq: int) -> Event:
    if type(event) is not Event:
        return replace(event, seq=seq)
    return Event(  # less than half of what replace costs, which is a third of a publish
        kind=event.kind, data=event.data, address=event.address, state_id=event.state_id, seq=seq, at=event.at
    )


class Publication(Awaitable[None]):
    """An event that waits for room when this is awaited, and pushes its way in when it is not."""

    def __init__(self, bus: EventBus, event: Event) -> None:
        self._bus = bus
        self._event: Event | None = event

    def __await__(self) -> Generator[Any, None, None]:
        event, self._event = self._event, None
        if event is not None:
            yield from self._bus.publish(event).__await__()

    def __del__(self) -> None:
        if self._event is not None:
            self._bus.publish_nowait(self._event)
