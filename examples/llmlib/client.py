"""Send requests to the server of the example: as much of HTTP as that takes, on asyncio streams.

A real agent would use an HTTP library or a vendor's client here. This one needs nothing installed.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from http.client import parse_headers
from typing import Any
from urllib.parse import urlsplit


class Refused(Exception):
    """The server answered with a status other than 200."""


class Busy(Refused):
    """The server may answer if it is asked again, after `retry_after` seconds: too many requests, or its own fault."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@asynccontextmanager
async def request(url: str, path: str, body: object) -> AsyncIterator[asyncio.StreamReader]:
    """Post a JSON body, and give the reader of the answer. The connection is closed at the end of the block.

    Raises Refused, Busy, OSError, and EOFError if the answer ends early.
    """
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        data = json.dumps(body).encode()
        writer.write(f"POST {path} HTTP/1.0\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        await writer.drain()
        first, _, rest = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
        status = int(first.split()[1])
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Busy(first.decode(), float(parse_headers(io.BytesIO(rest)).get("Retry-After", "0")))
        if status != HTTPStatus.OK:
            raise Refused(first.decode())
        yield reader
    finally:
        writer.close()


async def post(url: str, path: str, body: object) -> Any:
    """Post a JSON body, and return the JSON of the answer. Raises as `request` does."""
    async with request(url, path, body) as reader:
        return json.loads(await reader.read())


async def stream(url: str, path: str, body: object) -> AsyncGenerator[str, None]:
    """Post a JSON body, and yield the text of each server-sent event until `[DONE]`. Raises as `request` does."""
    async with request(url, path, body) as reader:
        async for line in reader:
            text = line.decode().strip()
            if text == "data: [DONE]":
                return
            if text:
                yield text.removeprefix("data: ")
        raise EOFError("the stream ended without [DONE]")
