"""Agents that take their input alone, or the state in other ways."""

import functools
from typing import Any


def plain(task: Any) -> Any:
    return ["plain", task]


def fails(task: Any) -> Any:
    raise ValueError(f"no {task}")


async def plain_async(task: Any, tone: str = "mild") -> Any:
    return ["async", task, tone]


def with_number(task: Any, number: int, state: Any) -> Any:
    return ["partial", task, number, state.key]


partial = functools.partial(with_number, number=7)
partial_async = functools.partial(plain_async, tone="loud")


class Model:
    """An agent that is an object, and one of its methods."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, task: Any, *, limit: int = 3) -> Any:
        return [self.name, task, limit]

    def method(self, task: Any) -> Any:
        return [f"{self.name}.method", task]


model = Model("model")
method = model.method
