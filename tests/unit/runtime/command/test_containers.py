"""`docker run` and `podman run` get a name, a label, an init and an undo, whatever their words are."""

from __future__ import annotations

import pytest

from runtime.command.containers import ContainerRun, plan


def planned(text: str) -> ContainerRun | None:
    return plan(text.split(), "r", lambda: "NAME")


PLANS = """\
docker run img
    docker run +name +label +init img
    docker rm -fv NAME
podman run --rm img a
    podman run +name +label +init --rm img a
    podman rm -fv NAME
/usr/bin/docker container run img
    /usr/bin/docker container run +name +label +init img
    /usr/bin/docker rm -fv NAME
docker -H h --context=c -D run img
    docker -H h --context=c -D run +name +label +init img
    docker -H h --context=c -D rm -fv NAME
podman --root run run img
    podman --root run run +name +label +init img
    podman --root run rm -fv NAME
docker run --name mine img
    docker run +label +init --name mine img
    docker rm -fv mine
docker run --name=mine img
    docker run +label +init --name=mine img
    docker rm -fv mine
docker run img --name other
    docker run +name +label +init img --name other
    docker rm -fv NAME
docker run -e --name img
    docker run +name +label +init -e --name img
    docker rm -fv NAME
docker run -ite A=1 --name mine img
    docker run +label +init -ite A=1 --name mine img
    docker rm -fv mine
docker run -it -v/a:/b --name mine img
    docker run +label +init -it -v/a:/b --name mine img
    docker rm -fv mine
docker run -p80:80 img --init
    docker run +name +label +init -p80:80 img --init
    docker rm -fv NAME
docker run --init=false img
    docker run +name +label --init=false img
    docker rm -fv NAME
docker run --init img
    docker run +name +label --init img
    docker rm -fv NAME
docker run --pid host img
    docker run +name +label --pid host img
    docker rm -fv NAME
docker run --unknown value --name mine img
    docker run +label +init --unknown value --name mine img
    docker rm -fv mine
docker run -- img --name x
    docker run +name +label +init -- img --name x
    docker rm -fv NAME
docker run
    docker run +name +label +init
    docker rm -fv NAME
"""
"""A command, what becomes of it, and its undo. `+name`, `+label`, `+init` stand for what is added."""

ADDED = {"+name": "--name NAME", "+label": "--label quiesce.run=r", "+init": "--init"}


@pytest.mark.parametrize("rows", range(0, PLANS.count("\n"), 3), ids=lambda at: PLANS.splitlines()[at])
def test_a_container_is_named_and_undone(rows: int) -> None:
    words, argv, undo = map(str.strip, PLANS.splitlines()[rows : rows + 3])
    for short, option in ADDED.items():
        argv = argv.replace(short, option)
    found = planned(words)
    assert found is not None
    assert (" ".join(found.argv), " ".join(found.undo)) == (argv, undo)
    assert found.name == undo.split()[-1]


OTHERS = "docker ps|docker exec x run|podman pod run|echo docker run img|dockerd run img|sh -c docker|docker -c|docker"


@pytest.mark.parametrize("words", OTHERS.split("|"))
def test_other_commands_stay_as_they_are(words: str) -> None:
    assert planned(words) is None
    assert plan([], "r", lambda: "NAME") is None
