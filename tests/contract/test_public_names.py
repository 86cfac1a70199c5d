"""What `dir()` and `help()` show of the library: the public names, and what each is for."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

import orchestrator
import runtime
from orchestrator import Supervisor
from orchestrator.testing import FakeBackend

OF_A_SUPERVISOR = [
    "amap", "amap_unordered", "ending", "events", "interrupt", "map", "map_unordered", "progress", "run_id", "settings",
    "status", "submit",
]  # fmt: skip


@pytest.mark.parametrize("package", [orchestrator, runtime])
def test_dir_of_a_package_shows_its_public_names(package: object) -> None:
    assert [name for name in dir(package) if not name.startswith("__")] == orchestrator_or_runtime(package)


def orchestrator_or_runtime(package: object) -> list[str]:
    names: list[str] = package.__all__  # type: ignore[attr-defined]
    return names


def test_dir_of_a_supervisor_shows_what_a_user_may_use() -> None:
    supervisor = Supervisor(workers=1, log=lambda *_: None, handle_signals=False, backend=FakeBackend())
    assert dir(supervisor) == OF_A_SUPERVISOR
    with supervisor:
        assert dir(supervisor) == OF_A_SUPERVISOR
    assert dir(supervisor) == OF_A_SUPERVISOR


def public_members() -> Iterator[tuple[str, object]]:
    for name in orchestrator.__all__:
        value = getattr(orchestrator, name)
        yield name, value
        if inspect.isclass(value):
            ours = [base for base in value.__mro__ if base.__module__.partition(".")[0] in {"orchestrator", "runtime"}]
            for member, found in ((member, found) for base in ours for member, found in vars(base).items()):
                if not member.startswith("_") and (inspect.isroutine(found) or isinstance(found, property)):
                    yield f"{name}.{member}", found


@pytest.mark.parametrize(("name", "member"), [pytest.param(name, found, id=name) for name, found in public_members()])
def test_every_public_class_method_and_property_is_documented(name: str, member: object) -> None:
    text = inspect.getdoc(member) or ""
    assert len(text.split()) >= 3, f"{name}: {text!r}"


@pytest.mark.parametrize("name", OF_A_SUPERVISOR)
def test_every_name_of_a_supervisor_is_documented_in_sentences(name: str) -> None:
    text = inspect.getdoc(getattr(Supervisor, name))
    assert text is not None
    assert len(text.split()) >= 8
