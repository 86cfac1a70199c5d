"""Ask a probe from inside the container, where there is no curl: run this module with PORT and a path such as /livez.

Its words need no quoting: podman joins those of an exec probe into one line for a shell. It prints the answer and exits
with 0 if it was yes.
"""

from __future__ import annotations

import http.client
import sys
from contextlib import closing

SECONDS = 3.0
"""How long the answer may take."""


def query_probe(port: int, path: str) -> tuple[bool, str]:
    """Whether the answer is yes, and what it says."""
    try:
        with closing(http.client.HTTPConnection("localhost", port, timeout=SECONDS)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status == http.HTTPStatus.OK, answer.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return False, f"no answer: {error}"


def main() -> None:
    """The command."""
    yes, why = query_probe(int(sys.argv[1]), sys.argv[2])
    sys.stdout.write(f"{why}\n")
    sys.exit(0 if yes else 1)


if __name__ == "__main__":
    main()
