"""Query a probe from inside the container, which may have no curl: `quiesce probe PORT PATH`."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Sequence
from contextlib import closing

TIMEOUT = 3.0
"""Seconds that the answer may take."""


def query_probe(port: int, path: str) -> tuple[bool, str]:
    """Return whether the probe on this host answers 200 OK, and the text of its answer. Never raises."""
    try:
        with closing(http.client.HTTPConnection("localhost", port, timeout=TIMEOUT)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status == http.HTTPStatus.OK, answer.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return False, f"no answer: {error}"


def main(arguments: Sequence[str]) -> int:
    """Run `quiesce probe PORT PATH`: print the answer; return 0 for yes, 1 for no, 2 for wrong usage."""
    if len(arguments) != 2 or not arguments[0].isdigit() or not arguments[1].startswith("/"):
        sys.stderr.write("quiesce: probe needs a port and a path: quiesce probe 8080 /livez\n")
        return 2
    is_yes, text = query_probe(int(arguments[0]), arguments[1])
    sys.stdout.write(f"{text}\n")
    return 0 if is_yes else 1
