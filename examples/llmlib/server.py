"""A server on loopback that answers as a language model's does: slowly, word by word, and not always.

    POST /v1/complete {"prompt": …}        server-sent events, one word each, then [DONE]
    POST /v1/answers  {"key": …, "step": "begin" | "end", "text": …}    store an answer in two steps
    POST /v1/stats    {}                   counters, see Stats

The words follow from the prompt alone. Some requests are refused at first: 429 with Retry-After when too many
streams are open, and 500 for a share of prompts, once each.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from http import HTTPStatus
from typing import Any

from llmlib.http import BadMessage, read_head, write_head

WORDS = """
the a this each every one some no when while after before because so then thus but and or if unless as with
process signal queue worker task journal record flag child parent pipe frame event answer tool result snapshot
starts ends waits stops resumes writes reads sends keeps holds finds counts returns reports remains becomes
clean slow early late open closed small whole finished pending durable bounded exact quiet steady known
""".split()  # noqa: SIM905 - a list of words is easiest to read as words


@dataclass(frozen=True, slots=True)
class Settings:
    """How the server behaves. Times in seconds."""

    first_word: float = 0.3
    word: float = 0.03
    failing: float = 0.15
    """Share of prompts whose first request gives 500."""
    capacity: int = 64
    """Streams at once; more get 429."""
    store: float = 0.1
    """Time between the two steps that a client should leave for storing an answer."""


@dataclass(slots=True)
class Stats:
    """What the server has seen."""

    completed: int = 0
    aborted: int = 0
    """Streams whose reader went away."""
    open: int = 0
    refused: int = 0
    failed: int = 0
    stored: dict[str, int] = field(default_factory=dict)
    """Key of an answer to how often it was stored."""
    begun: dict[str, int] = field(default_factory=dict)


def completion(prompt: str) -> list[str]:
    """The words of the answer to a prompt: the same words for the same prompt, 30 to 90 of them."""
    dice = random.Random(blake2b(prompt.encode(), digest_size=8).digest())
    words = [dice.choice(WORDS) for _ in range(dice.randint(30, 90))]
    return [words[0].capitalize(), *words[1:-1], words[-1] + "."]


class Model:
    """The server's side of the three requests."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stats = Stats()
        self._failed: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request. Whatever the client does, the server goes on."""
        try:
            head = await read_head(reader)
            path = head.first.split(" ")[1:2]
            body = json.loads(await reader.readexactly(head.length))
            if path == ["/v1/complete"]:
                await self.complete(str(body["prompt"]), writer)
            elif path == ["/v1/answers"]:
                await self.store(str(body["key"]), str(body["step"]), writer)
            elif path == ["/v1/stats"]:
                reply(writer, asdict(self.stats))
            else:
                refuse(writer, HTTPStatus.NOT_FOUND)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the server ends
        except (BadMessage, ValueError, KeyError, TypeError):
            refuse(writer, HTTPStatus.BAD_REQUEST)
        finally:
            writer.close()

    async def complete(self, prompt: str, writer: asyncio.StreamWriter) -> None:
        """Stream an answer, unless it is one of those times."""
        if self.stats.open >= self.settings.capacity:
            self.stats.refused += 1
            refuse(writer, HTTPStatus.TOO_MANY_REQUESTS, Retry_After="0.5")
            return
        if self._fails(prompt):
            self.stats.failed += 1
            refuse(writer, HTTPStatus.INTERNAL_SERVER_ERROR)
            return
        self.stats.open += 1
        try:
            write_head(writer, "HTTP/1.1 200 OK", Content_Type="text/event-stream")
            await asyncio.sleep(self.settings.first_word)
            for word in completion(prompt):
                writer.write(f"data: {word}\n\n".encode())
                await writer.drain()
                await asyncio.sleep(self.settings.word)
            writer.write(b"data: [DONE]\n\n")
            await writer.drain()
            self.stats.completed += 1
        except ConnectionError:
            self.stats.aborted += 1
        finally:
            self.stats.open -= 1

    def _fails(self, prompt: str) -> bool:
        share = blake2b(prompt.encode(), digest_size=1, salt=b"failing").digest()[0] / 256
        if share >= self.settings.failing or prompt in self._failed:
            return False
        self._failed.add(prompt)
        return True

    async def store(self, key: str, step: str, writer: asyncio.StreamWriter) -> None:
        """Both steps of storing an answer. An answer that is begun and never ended is half an answer."""
        counts = self.stats.begun if step == "begin" else self.stats.stored
        counts[key] = counts.get(key, 0) + 1
        reply(writer, {"wait": self.settings.store if step == "begin" else 0})


def reply(writer: asyncio.StreamWriter, value: Any) -> None:
    """200 and JSON."""
    data = json.dumps(value).encode()
    write_head(writer, "HTTP/1.1 200 OK", Content_Type="application/json", Content_Length=len(data))
    writer.write(data)


def refuse(writer: asyncio.StreamWriter, status: HTTPStatus, **headers: str) -> None:
    """Another status, and nothing else."""
    write_head(writer, f"HTTP/1.1 {status.value} {status.phrase}", Content_Length=0, **headers)


async def serve(settings: Settings, port: int) -> None:
    """Serve until standard input ends, so that the server cannot outlive whoever started it. Prints its URL first."""
    server = await asyncio.start_server(Model(settings).serve, "127.0.0.1", port)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await asyncio.to_thread(sys.stdin.buffer.read)
