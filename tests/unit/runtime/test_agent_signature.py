"""How agents of every kind are called: with their input, or with the state too."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import pytest

import runtime
from runtime import ExecutionState
from runtime.agent_signature import with_state
from runtime.agents import describe
from runtime.errors import UsageError

STATE = ExecutionState(state_id="state")
OTHER = ExecutionState(state_id="other")


def call(agent: Callable[..., Any]) -> Any:
    """Call an agent as an executor does, with the input "in"."""
    return with_state(agent, describe(agent).state_argument)("in", STATE)


class Model:
    """Agents as methods and as an object."""

    def __call__(self, task_input: str, temperature: float = 0.5) -> Any:
        return [task_input, temperature]

    def plain(self, task_input: str) -> Any:
        return [task_input]

    def with_state(self, task_input: str, state: ExecutionState) -> Any:
        return [task_input, state]

    @classmethod
    def of_class(cls, task_input: str) -> Any:
        return [task_input, cls.__name__]

    @staticmethod
    def static(task_input: str, other: int = 3) -> Any:
        return [task_input, other]


class AsyncModel:
    """An async agent that is an object."""

    async def __call__(self, task_input: str) -> Any:
        return task_input


def three(task_input: str, n: int, state: ExecutionState) -> Any:
    return [task_input, n, state]


def swapped(n: int, task_input: str) -> Any:
    return [n, task_input]


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def annotated(x: str, context: runtime.ExecutionState = OTHER) -> Any:
    return [x, context]


ALONE: dict[str, tuple[Any, Any]] = {
    "one": (lambda x: [x], ["in"]),
    "all have defaults": (lambda x=1, y=2: [x, y], ["in", 2]),
    "a default": (lambda x, n=3: [x, n], ["in", 3]),
    "keyword-only default": (lambda x, *, n=3: [x, n], ["in", 3]),
    "keywords": (lambda x, **more: [x, more], ["in", {}]),
    "object": (Model(), ["in", 0.5]),
    "method": (Model().plain, ["in"]),
    "class method": (Model.of_class, ["in", "Model"]),
    "static method": (Model.static, ["in", 3]),
    "partial": (functools.partial(swapped, 7), [7, "in"]),
    "partial of a partial": (functools.partial(functools.partial(three, n=1), state=2), ["in", 1, 2]),
    "wrapped": (wrapped(lambda x: [x]), ["in"]),
    "builtin": (len, 2),
    "builtin that takes anything": (max, "n"),
    "builtin method": ("in".count, 1),
    "operator": (operator.itemgetter(0), "i"),
}

WITH_STATE: dict[str, tuple[Any, Any]] = {
    "two": (lambda x, state: [x, state], ["in", STATE]),
    "two of any name": (lambda x, y: [x, y], ["in", STATE]),
    "optional by name": (lambda x, state=None: [x, state], ["in", STATE]),
    "keyword-only": (lambda x, *, state: [x, state], ["in", STATE]),
    "keyword-only and optional": (lambda x, *, n=3, state=None: [x, n, state], ["in", 3, STATE]),
    "method": (Model().with_state, ["in", STATE]),
    "any": (lambda *args: [*args], ["in", STATE]),
    "one and any": (lambda x, *rest: [x, *rest], ["in", STATE]),
    "partial by position": (functools.partial(lambda n, x, state: [n, x, state], 1), [1, "in", STATE]),
    "partial by keyword": (functools.partial(three, n=1), ["in", 1, STATE]),
    "wrapped": (wrapped(lambda x, state: [x, state]), ["in", STATE]),
    "wrapped without functools": (lambda *args, **kwargs: [args, kwargs], [("in", STATE), {}]),
    "annotated": (annotated, ["in", STATE]),
}


@pytest.mark.parametrize("kind", ALONE)
def test_agents_that_take_their_input_alone(kind: str) -> None:
    agent, result = ALONE[kind]
    assert call(agent) == result


@pytest.mark.parametrize("kind", WITH_STATE)
def test_agents_that_take_the_state(kind: str) -> None:
    agent, result = WITH_STATE[kind]
    assert call(agent) == result


def test_an_agent_with_two_parameters_is_called_directly() -> None:
    def agent(task_input: Any, state: Any) -> None: ...

    assert with_state(agent, describe(agent).state_argument) is agent


def test_async_agents_are_found_behind_objects_and_partials() -> None:
    async def work(task_input: str, n: int = 1) -> Any: ...

    for agent in (work, functools.partial(work, n=2), AsyncModel(), functools.partial(AsyncModel()), wrapped(work)):
        assert describe(agent).asynchronous
    assert not describe(functools.partial(Model())).asynchronous


REFUSED: dict[str, tuple[Any, str]] = {
    "none": (lambda: 1, r"<lambda>\(\) takes no input: an agent is agent\(task_input\) or agent\(task_input, state\)"),
    "keywords only": (lambda *, x: x, r"takes no input"),
    "three": (lambda a, b, c: 1, r"<lambda>\(a, b, c\) requires 3 arguments \(a, b, c\): .*functools\.partial"),
    "method without its object": (Model.with_state, r"requires 3 arguments \(self, task_input, state\)"),
    "a keyword": (lambda x, *, model: x, r"<lambda>\(x, \*, model\) requires model: .*functools\.partial"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_called_as_an_agent_is_refused_in_one_line(kind: str) -> None:
    agent, text = REFUSED[kind]
    with pytest.raises(UsageError, match=text) as caught:
        describe(agent)
    assert "\n" not in str(caught.value)
