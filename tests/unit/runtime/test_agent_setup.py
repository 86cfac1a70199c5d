"""What `@agent` takes as lifespans and initializers, and what it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from runtime.agent_setup import NO_SETUP, make_setup
from runtime.agents import agent, describe, options_of
from runtime.errors import UsageError


@contextmanager
def model() -> Iterator[str]:
    yield "model"


def generator() -> Iterator[str]:
    yield "model"


async def async_generator() -> AsyncIterator[str]:
    yield "model"


async def coroutine() -> str:
    return "model"


class Manager:
    def __enter__(self) -> str:
        return "model"

    def __exit__(self, *_: object) -> None: ...


def first() -> None: ...


@agent(lifespan=model, initializer=first, timeout=3)
def work(task_input: Any, state: Any, *, factor: int = 1) -> Any:
    return state.resource


def test_an_agent_knows_its_set_up_and_so_does_a_partial_of_it() -> None:
    for target in (work, partial(work, factor=2), partial(partial(work, factor=2), factor=3)):
        assert describe(target).setup == make_setup(model, [first])
        assert options_of(target).timeout == 3
    assert describe(lambda task_input, state: None).setup is NO_SETUP


@pytest.mark.parametrize("lifespan", [None, model, Manager, partial(model), partial(Manager)])
@pytest.mark.parametrize("initializer", [None, first, [first], (first, coroutine)])
def test_what_can_be_set_up(lifespan: Any, initializer: Any) -> None:
    setup = make_setup(lifespan, initializer)
    assert bool(setup) == (lifespan is not None or initializer is not None)


@pytest.mark.parametrize(
    ("lifespan", "words"),
    [
        (generator, "the lifespan generator is a generator function: decorate it with @contextlib.contextmanager"),
        (async_generator, "async_generator is a generator function: decorate it with @contextlib.asynccontextmanager"),
        (coroutine, "the lifespan coroutine is a coroutine function"),
        (model(), "is a context manager already: give the function that makes one"),
        (Manager(), "the lifespan Manager is a context manager already"),
        ("model", "the lifespan 'model' is not callable"),
    ],
)
def test_a_lifespan_that_is_none(lifespan: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        agent(lifespan=lifespan)(lambda task_input, state: None)


@pytest.mark.parametrize(
    ("initializer", "words"),
    [
        ("first", "the initializer 'first' is not callable"),
        ([first, 1], "the initializer 1 is not callable"),
        (generator, "the initializer generator is a generator function: use it as a lifespan"),
    ],
)
def test_an_initializer_that_is_none(initializer: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        agent(initializer=initializer)(lambda task_input, state: None)
