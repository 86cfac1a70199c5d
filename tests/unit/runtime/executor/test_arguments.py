"""Arguments are bound by name, converted by annotation, and refused in one line."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from runtime.agent_arguments import bound_arguments, check_bound, select_arguments, settable_parameters
from runtime.agents import agent, describe
from runtime.errors import UsageError
from runtime.executor.arguments import bind


class Settings(BaseModel):
    name: str = "small"
    size: int = Field(default=1, ge=1)


class Unknown:
    """A class that pydantic knows nothing of."""


def plain(task_input: Any, state: Any, *, n: int = 1, text: str = "", path: Path | None = None, free: Any = 0) -> Any:
    return n, text, path, free


def with_model(task_input: Any, state: Any, *, settings: Settings) -> Settings:
    return settings


def with_default(task_input: Any, state: Any, settings: Settings = Settings(name="mine")) -> Settings:  # noqa: B008
    return settings


def foreign(task_input: Any, state: Any, *, thing: Unknown | None = None) -> Any:
    return thing


def anything(task_input: Any, state: Any, **more: Any) -> Any:
    return more


class Method:
    def __call__(self, task_input: Any, state: Any, *, n: float = 0) -> Any:
        return n


@pytest.mark.parametrize(
    ("target", "given", "result"),
    [
        (plain, {"n": "3", "text": 5, "path": "/x", "free": [1]}, (3, "5", Path("/x"), [1])),
        (with_model, {}, Settings()),
        (with_model, {"name": 7, "size": 2}, Settings(name="7", size=2)),
        (with_model, {"settings": {"name": "a"}, "size": 3}, Settings(name="a", size=3)),
        (with_default, {"size": 3}, Settings(name="mine", size=3)),
        (foreign, {"thing": {"a": 1}}, {"a": 1}),
        (anything, {"a": 1}, {"a": 1}),
        (Method(), {"n": 2}, 2.0),
    ],
)
def test_arguments_are_converted(target: Any, given: dict[str, Any], result: Any) -> None:
    assert bind(target, given, "f")(None, None) == result


def test_without_arguments_the_agent_is_itself() -> None:
    assert bind(plain, {}, "f") is plain
    assert bind(with_default, {}, "f") is with_default


@pytest.mark.parametrize(
    ("target", "given", "words"),
    [
        (plain, {"m": 1}, "f has no argument 'm'; did you mean n|f has no argument 'm'; it has free, n, path, text"),
        (plain, {"state": 1}, "f has no argument 'state'"),
        (plain, {"n": "x"}, "f: the argument n = 'x': Input should be a valid integer"),
        (with_model, {"size": 0}, "f: the argument settings.size = 0: Input should be greater than or equal to 1"),
        (with_model, {"settings": 3}, "f: the argument settings = 3: "),
        (lambda task_input, state, *, level: None, {}, "f needs the argument level: give --arg level=VALUE"),
        (lambda task_input: None, {"x": 1}, "f has no argument 'x'; it takes none"),
    ],
)
def test_what_is_wrong_is_one_line(target: Any, given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        bind(target, given, "f")


def test_a_partial_is_looked_into() -> None:
    once = functools.partial(plain, n=1, text="a")
    twice = functools.partial(once, text="b")
    assert bound_arguments(twice) == {"n": 1, "text": "b"}
    assert describe(twice).arguments == {"n": 1, "text": "b"}
    assert select_arguments(lambda n, other=0: None, {"n": 1, "text": "b"}) == {"n": 1}
    assert set(settable_parameters(plain)) == {"n", "text", "path", "free"}
    check_bound(functools.partial(anything, x=1), "f")
    unknown: Any = {"txt": "a"}
    with pytest.raises(UsageError, match="plain has no argument 'txt'; did you mean text"):
        describe(functools.partial(plain, **unknown))


def test_an_agent_may_require_arguments_until_it_is_loaded() -> None:
    marked = agent(with_model)
    with pytest.raises(UsageError):
        describe(marked)
    assert describe(bind(marked, {}, "f")).name == "with_model"


def test_a_partial_of_an_async_agent_is_async() -> None:
    async def work(task_input: Any, state: Any, *, n: int = 1) -> int:
        return n

    assert describe(functools.partial(work, n=2)).asynchronous
