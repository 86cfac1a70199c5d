"""podman with an image of its own and nothing of quiesce in it, in the store of pods.py."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from tests.hosts.pods import Podman


class ContainerEngine(Podman):
    """The engine, with the base image only. Raises Unavailable on a host that cannot have it."""

    def _build(self, base: str) -> str:
        """Return the base: nothing is to be built."""
        return base

    @property
    def words(self) -> list[str]:
        """The beginning of every podman command for this store."""
        return self._words()

    def containers(self, run: str) -> list[str]:
        """The names of all containers of a run, also of those that have ended."""
        listed = self.run("ps", "-a", "--filter", f"label=quiesce.run={run}", "--format", "{{.Names}}")
        return listed.stdout.split()

    def volumes(self) -> list[str]:
        """The names of all volumes of the store, which is locked for one test module at a time."""
        return self.run("volume", "ls", "--format", "{{.Name}}").stdout.split()

    def clean(self) -> None:
        """Remove every container, pod and volume of this store."""
        self.run("rm", "-a", "-f", "-t", "0", check=False)
        super().clean()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
