"""runtime.ipc.failures: an exception is described by names and plain values, whatever its class does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.failure import Failure
from runtime.ipc.failures import describe_failure
from runtime.ipc.plain_values import decode_plain
from runtime.user_frames import Frame


class Refused(ValueError):
    def __init__(self, code: int, *, why: str) -> None:
        super().__init__(f"refused with {code}")
        self.code, self.why = code, why


class Sly(Exception):
    """Its class lies about its arguments and its attributes."""

    args = property(lambda self: 1 / 0)
    __dict__ = property(lambda self: 1 / 0)


class Hidden(type):
    @property
    def __module__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("no module")


class Nameless(Exception, metaclass=Hidden):
    pass


def raised(error: BaseException) -> Failure:
    with pytest.raises(type(error)) as caught:
        raise error
    return describe_failure(caught.value)


def content(failure: Failure) -> Any:
    assert failure.arguments is not None
    return decode_plain(failure.arguments.decode())


def test_a_builtin_exception() -> None:
    failure = raised(FileNotFoundError(2, "no such file", "a.txt"))
    assert (failure.type, failure.bases) == ("FileNotFoundError", ["OSError", "Exception", "BaseException"])
    assert failure.frame == Frame(__file__, raised.__code__.co_firstlineno + 2, "raised")
    assert content(failure) == ((2, "no such file", "a.txt"), {}, {})


def test_a_class_of_the_user_with_attributes() -> None:
    failure = raised(Refused(3, why="late"))
    assert failure.type == f"{__name__}.Refused"
    assert failure.bases[0] == "ValueError"
    assert content(failure) == (("refused with 3",), {"code": 3, "why": "late"}, {})


def test_the_frame_is_in_code_of_the_user() -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{")
    frame = describe_failure(caught.value).frame
    assert frame is not None
    assert (frame.file, frame.function) == (__file__, "test_the_frame_is_in_code_of_the_user")


def test_arguments_that_are_not_plain_are_left_out() -> None:
    assert raised(ValueError(object())).arguments is None
    assert raised(ExceptionGroup("two", [ValueError(), KeyError()])).arguments is None


def test_a_class_that_lies_is_described_all_the_same() -> None:
    assert raised(Sly("x")).type == f"{__name__}.Sly"
    assert raised(Nameless("x")).type == "?"


def test_an_exception_without_a_traceback() -> None:
    assert describe_failure(KeyError("a")).frame is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"FileNotFoundError"}, True),
        ({"OSError"}, True),
        ({"x.OSError"}, False),
        ({"Error"}, False),
        (set(), False),
    ],
)
def test_names_of_a_class_and_of_its_bases(names: set[str], *, expected: bool) -> None:
    failure = raised(FileNotFoundError(2, "no"))
    assert failure.is_of(frozenset(names)) is expected


def test_names_with_and_without_a_module() -> None:
    failure = raised(Refused(3, why="late"))
    assert failure.is_of(frozenset({"Refused"}))
    assert failure.is_of(frozenset({f"{__name__}.Refused"}))
    assert not failure.is_of(frozenset({"other.Refused"}))
