"""Events from many executors to one subscriber, each sent at once: `python -m bench.flow KIND JSON`.

Counted from the moment when the first event was sent (each carries its time) to the arrival of the last one, and
checked: none is lost, and each executor's come in its own order. Prints one JSON line.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import select
import struct
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

import msgspec

from bench.tasks import chatter, event_data

Heard = Iterator[tuple[int, int, float]]
"""Who, the number of its event, and when it was sent (Unix seconds)."""

_HEADER = struct.Struct("<I")
_READ = 1 << 18


class Note(msgspec.Struct, array_like=True):
    """What the floor's frames hold."""

    at: float
    data: msgspec.Raw


def supervised(executors: int, events: int, journal: str | None = None) -> Heard:
    """Agents that emit, and a subscriber of the run."""
    from orchestrator import Supervisor  # noqa: PLC0415 - the peers must not pay for it

    with Supervisor(workers=executors, journal=journal) as supervisor:
        stream = supervisor.events(limit=executors * events + 1000)
        for who in range(executors):
            supervisor.submit(chatter, {"who": who, "events": events})
        left = executors * events
        for event in stream:
            if event.kind == "n":
                data = msgspec.json.decode(event.data)
                yield data["who"], data["n"], event.at
                left -= 1
                if not left:
                    return


def journalled(executors: int, events: int) -> Heard:
    """Run the same, with events shown when they are committed."""
    return supervised(executors, events, os.path.join(os.environ["BENCH_FOLDER"], "flow.db"))


def _through_pipe(end: Any, who: int, events: int) -> None:
    for number in range(events):
        end.send({"at": time.time(), **event_data(who, number)})
    end.close()


def piped(executors: int, events: int) -> Heard:
    """multiprocessing.Pipe, and connection.wait on all of them."""
    ends: list[Connection] = []
    children = []
    for who in range(executors):
        ours, theirs = multiprocessing.Pipe(duplex=False)
        children.append(multiprocessing.get_context("fork").Process(target=_through_pipe, args=(theirs, who, events)))
        children[-1].start()
        theirs.close()
        ends.append(ours)
    while ends:
        for end in wait(ends):
            assert isinstance(end, Connection)
            try:
                data = end.recv()
            except EOFError:
                ends.remove(end)
                continue
            yield data["who"], data["n"], data["at"]
    for child in children:
        child.join()


def _through_queue(queue: Any, who: int, events: int) -> None:
    for number in range(events):
        queue.put({"at": time.time(), **event_data(who, number)})


def queued(executors: int, events: int) -> Heard:
    """One multiprocessing.Queue for all."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=_through_queue, args=(queue, who, events)) for who in range(executors)]
    for child in children:
        child.start()
    for _ in range(executors * events):
        data = queue.get()
        yield data["who"], data["n"], data["at"]
    for child in children:
        child.join()


def framed(executors: int, events: int) -> Heard:
    """Run the lower bound: fork, a pipe each, a msgpack frame an event, poll()."""
    poll, rests = select.poll(), {}
    for who in range(executors):
        read, write = os.pipe()
        if os.fork() == 0:
            encode = msgspec.msgpack.Encoder().encode
            for number in range(events):
                data = encode(Note(time.time(), msgspec.Raw(encode(event_data(who, number)))))
                os.write(write, _HEADER.pack(len(data)) + data)
            os._exit(0)
        os.close(write)
        poll.register(read, select.POLLIN)
        rests[read] = b""
    decode = msgspec.msgpack.Decoder(Note).decode
    while rests:
        for fd, _ in poll.poll():
            chunk = os.read(fd, _READ)
            if not chunk:
                poll.unregister(fd)
                os.close(fd)
                del rests[fd]
                continue
            text, at = rests[fd] + chunk, 0
            while at + 4 <= len(text) and at + 4 + (size := _HEADER.unpack_from(text, at)[0]) <= len(text):
                note = decode(text[at + 4 : at + 4 + size])
                data = msgspec.msgpack.decode(note.data)
                at += 4 + size
                yield data["who"], data["n"], note.at
            rests[fd] = text[at:]
    for _ in range(executors):
        os.wait()


KINDS: dict[str, Callable[[int, int], Heard]] = {
    "quiesce": supervised,
    "quiesce + journal": journalled,
    "Pipe and connection.wait": piped,
    "multiprocessing.Queue": queued,
    "bare pipes, msgpack frames": framed,
}


def main() -> None:
    """One round of one kind."""
    kind, order = sys.argv[1], json.loads(sys.argv[2])
    expected = [0] * order["workers"]
    began, last = float("inf"), 0.0
    for who, number, at in KINDS[kind](order["workers"], order["events"]):
        began, last = min(began, at), time.time()
        if number != expected[who]:
            raise SystemExit(f"executor {who}: event {number} came where {expected[who]} was due")
        expected[who] += 1
    if set(expected) != {order["events"]}:
        raise SystemExit(f"events that came: {expected}")
    print(json.dumps({"rate": sum(expected) / (last - began)}), flush=True)


if __name__ == "__main__":
    main()
