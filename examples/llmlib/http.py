"""As much of HTTP/1.1 as the two sides of this example need, on asyncio streams.

A real agent would use an HTTP library or a vendor's client. This is here so that the example needs nothing installed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

LARGEST_BODY = 1_000_000


class BadMessage(Exception):
    """The other side does not speak HTTP, or not the part of it that we know."""


@dataclass(frozen=True, slots=True)
class Head:
    """A first line and headers, the names in lower case."""

    first: str
    headers: dict[str, str]

    @property
    def length(self) -> int:
        """Bytes of the body. Raises BadMessage."""
        text = self.headers.get("content-length", "0")
        if not text.isdecimal() or int(text) > LARGEST_BODY:
            raise BadMessage(f"Content-Length: {text}")
        return int(text)


async def read_head(reader: asyncio.StreamReader) -> Head:
    """Read up to the empty line. Raises BadMessage."""
    try:
        data = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise BadMessage("no head") from error
    first, *lines = data.decode("latin-1").strip().split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Head(first, {name.strip().lower(): value.strip() for name, _, value in pairs})


def write_head(writer: asyncio.StreamWriter, first: str, **headers: str | int) -> None:
    """Write a first line and headers; `Content_Length` becomes `Content-Length`. One request a connection."""
    lines = [first, *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()), "Connection: close"]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))


class Refused(Exception):
    """A status other than 200. `retry_after` is in seconds, None when the server does not say."""

    def __init__(self, status: int, text: str, retry_after: float | None) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.retry_after = retry_after

    @property
    def worth_retrying(self) -> bool:
        """Whether it may go better later: too many requests, or the server's own fault."""
        return self.status == 429 or self.status >= 500


@asynccontextmanager
async def request(url: str, path: str, body: object) -> AsyncIterator[tuple[Head, asyncio.StreamReader]]:
    """POST a JSON body and give the answer's head and what follows. The connection ends with the block.

    Raises Refused, BadMessage, OSError.
    """
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        data = json.dumps(body).encode()
        write_head(writer, f"POST {path} HTTP/1.1", Host=address.netloc, Content_Length=len(data))
        writer.write(data)
        await writer.drain()
        head = await read_head(reader)
        _, status, text = [*head.first.split(" ", 2), "", ""][:3]
        if not status.isdecimal():
            raise BadMessage(head.first)
        if status != "200":
            after = head.headers.get("retry-after", "")
            raise Refused(int(status), text, float(after) if after.replace(".", "", 1).isdecimal() else None)
        yield head, reader
    finally:
        writer.close()


async def post(url: str, path: str, body: object) -> Any:
    """POST a JSON body; the JSON of the answer. Raises as `request` does."""
    async with request(url, path, body) as (head, reader):
        return json.loads(await reader.readexactly(head.length))


async def stream(url: str, path: str, body: object) -> AsyncGenerator[str, None]:
    """POST a JSON body; the text of each server-sent event of the answer as it comes, until `[DONE]`.

    Raises as `request` does, BadMessage also when the stream ends too early.
    """
    async with request(url, path, body) as (_, reader):
        async for line in reader:
            text = line.decode().strip()
            if text == "data: [DONE]":
                return
            if text.startswith("data: "):
                yield text.removeprefix("data: ")
        raise BadMessage("the stream ended without [DONE]")
