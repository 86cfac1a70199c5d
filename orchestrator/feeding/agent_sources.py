"""Encode the agents that a program hands in, each once."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from orchestrator.identity import identify_agent
from runtime.agents import describe
from runtime.ipc import codec


class AgentSource(NamedTuple):
    """What an executor makes an agent of, and by what later starts of the run know it (`identity`)."""

    name: str
    identity: str
    source: bytes


class AgentSources:
    """Keep the sources of agents for as long as the program has the agents."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Callable[[], object], AgentSource]] = {}

    def encode(self, agent: Callable[..., Any]) -> AgentSource:
        """Return the source of an agent. Raises UsageError for one that cannot be executed."""
        reference, source = self._known.get(id(agent), (None, None))
        if reference is None or source is None or reference() is not agent:
            reference = self._refer_to(agent)
            source = AgentSource(describe(agent).name, identify_agent(agent), codec.encode_blob(agent))
            self._known[id(agent)] = reference, source
        return source

    def _refer_to(self, agent: object) -> Callable[[], object]:
        """Return a reference to the agent, weak where it can be: the caller may drop a large one."""
        forget = partial(self._known.pop, id(agent), None)
        try:
            return weakref.ref(agent, lambda _: forget())
        except TypeError:
            return lambda: agent
