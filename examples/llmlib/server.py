"""Serve on loopback as a language model's server does: slowly, word by word, and not always.

    POST /v1/complete {"prompt": …}        server-sent events, one word each, then [DONE]
    POST /v1/answers  {"key": …, "step": "begin" | "end", "text": …}    store an answer in two steps
    POST /v1/stats    {}                   counters, see Stats

The words follow from the prompt alone. Some requests are refused at first: with 429 and Retry-After while too many
streams are open, and with 500 for a share of prompts, once each.
"""

from __future__ import annotations

import json
import random
import threading
import time
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = """
the a this each every one some no when while after before because so then thus but and or if unless as with
process signal queue worker task journal record flag child parent pipe frame event answer tool result snapshot
starts ends waits stops resumes writes reads sends keeps holds finds counts returns reports remains becomes
clean slow early late open closed small whole finished pending durable bounded exact quiet steady known
""".split()  # noqa: SIM905 - a list of words is easiest to read as words


@dataclass(frozen=True, slots=True)
class Settings:
    """How the server behaves. Times are in seconds."""

    first_word: float = 0.3
    word: float = 0.03
    failing: float = 0.15
    """Share of prompts whose first request fails with 500."""
    capacity: int = 64
    """Streams at once; more get 429."""
    store: float = 0.1
    """Time that a client should leave between the two steps of storing an answer."""


@dataclass(slots=True)
class Stats:
    """What the server has seen."""

    completed: int = 0
    aborted: int = 0
    """Streams whose reader went away."""
    open: int = 0
    refused: int = 0
    begun: dict[str, int] = field(default_factory=dict)
    """How often each answer was begun to be stored, by key."""
    stored: dict[str, int] = field(default_factory=dict)


def completion(prompt: str) -> list[str]:
    """Return the words of the answer to a prompt: the same words for the same prompt, 30 to 90 of them."""
    dice = random.Random(blake2b(prompt.encode(), digest_size=8).digest())
    words = [dice.choice(WORDS) for _ in range(dice.randint(30, 90))]
    return [words[0].capitalize(), *words[1:-1], words[-1] + "."]


class Server(ThreadingHTTPServer):
    """The server: what it has seen, and which requests it refuses. A thread for each connection."""

    daemon_threads = False  # `server_close` waits for them
    request_queue_size = 128

    def __init__(self, settings: Settings, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.settings = settings
        self.stats = Stats()
        self.lock = threading.Lock()
        self._failed: set[str] = set()

    def admit(self, prompt: str) -> HTTPStatus | None:
        """Count a new stream, or return the status with which its prompt is refused."""
        share = blake2b(prompt.encode(), digest_size=1, salt=b"failing").digest()[0] / 256
        with self.lock:
            if self.stats.open >= self.settings.capacity:
                self.stats.refused += 1
                return HTTPStatus.TOO_MANY_REQUESTS
            if share < self.settings.failing and prompt not in self._failed:
                self._failed.add(prompt)
                self.stats.refused += 1
                return HTTPStatus.INTERNAL_SERVER_ERROR
            self.stats.open += 1
            return None

    def close_stream(self, *, completed: bool) -> None:
        """Count the end of a stream."""
        with self.lock:
            self.stats.open -= 1
            self.stats.completed += completed
            self.stats.aborted += not completed


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_POST(self) -> None:
        """Answer a request; a client that goes away, or that sends nonsense, does no harm."""
        try:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            match self.path:
                case "/v1/complete":
                    self.complete(str(body["prompt"]))
                case "/v1/answers":
                    self.store(str(body["key"]), str(body["step"]))
                case "/v1/stats":
                    with self.server.lock:
                        stats = asdict(self.server.stats)
                    self.reply(stats)
                case _:
                    self.send_error(HTTPStatus.NOT_FOUND)
        except (ValueError, KeyError, TypeError):
            self.send_error(HTTPStatus.BAD_REQUEST)
        except ConnectionError:
            pass

    def complete(self, prompt: str) -> None:
        """Stream an answer, or refuse to."""
        if refusal := self.server.admit(prompt):
            self.send_response(refusal)
            self.send_header("Retry-After", "0.5" if refusal == HTTPStatus.TOO_MANY_REQUESTS else "0")
            self.end_headers()
            return
        completed = False
        try:
            self.stream(completion(prompt))
            completed = True
        finally:
            self.server.close_stream(completed=completed)

    def stream(self, words: list[str]) -> None:
        """Write words, as slowly as a model does. Raises ConnectionError when the reader goes away."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        time.sleep(self.server.settings.first_word)
        for word in [*words, "[DONE]"]:
            self.wfile.write(f"data: {word}\n\n".encode())
            time.sleep(self.server.settings.word)

    def store(self, key: str, step: str) -> None:
        """Take one step of storing an answer. One that is begun and never ended is half an answer."""
        stats = self.server.stats
        counts = stats.begun if step == "begin" else stats.stored
        with self.server.lock:
            counts[key] = counts.get(key, 0) + 1
        self.reply({"wait": self.server.settings.store if step == "begin" else 0})

    def reply(self, value: Any) -> None:
        """Answer with JSON."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def log_message(self, *_: Any) -> None:
        """Log no requests: standard error is the demonstration's."""
