"""Recognise `docker run` and `podman run`, and give the container a name, a label, an init and an undo. Pure.

*Theory.* The client is only a proxy (docker), or the container is kept by files and mounts (podman): what ends the
client does not remove the container. With a name that is known before it is made, a command removes it.

The words of `run` are read as both programs read them, up to the image: what stands behind that belongs to the
container. An option that is not known here takes a value, as nearly all of theirs do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

ENGINES: Final = frozenset({"docker", "podman", "nerdctl"})
"""Programs that have `run`, `rm`, `--name`, `--label` and `--init`."""

_GLOBAL_VALUES: Final = frozenset(
    """
    -H --host -c --context --config -l --log-level --tlscacert --tlscert --tlskey --root --runroot --runtime --url
    --connection --identity --cgroup-manager --conmon --events-backend --hooks-dir --namespace --network-cmd-path
    --network-config-dir --runtime-flag --ssh --storage-driver --storage-opt --tmpdir --volumepath --module --out
    -n -a --address --data-root --snapshotter --cni-path --cni-netconfpath --imagestore --registries-conf
    --default-mounts-file --db-backend
    """.split()  # noqa: SIM905 - as help texts list them
)
"""Options before `run` whose value is a word of its own."""

_RUN_FLAGS: Final = frozenset(
    """
    --detach --interactive --tty --rm --init --privileged --publish-all --read-only --no-healthcheck --quiet
    --oom-kill-disable --disable-content-trust --sig-proxy --replace --rmi --tls-verify --no-hosts --no-hostname
    --http-proxy --env-host --passwd --unsetenv-all --read-only-tmpfs --rootfs --help --use-api-socket
    """.split()  # noqa: SIM905
)
_RUN_SHORT_FLAGS: Final = frozenset("ditPq")
"""Options of `run` without a value."""


@dataclass(frozen=True, slots=True)
class ContainerRun:
    """A command that makes a container: its words with what was added, and the command that removes the container."""

    argv: list[str]
    undo: list[str]
    name: str


def plan(argv: Sequence[str], run_id: str, make_name: Callable[[], str]) -> ContainerRun | None:
    """Return the command with a name, a label and an init, and its undo; None if it makes no container.

    A `--name` that it has stays; `make_name` is called only if there is none. There is no `--init` where the container
    shares another PID namespace, in which it could not be the first process, nor where one is given or refused.
    """
    at = _find_run(argv)
    if at is None:
        return None
    options = _read_options(argv[at:])
    name, added = options.get("--name", ""), []
    if not name:
        name = make_name()
        added += ["--name", name]
    added += ["--label", f"quiesce.run={run_id}"]
    if "--init" not in options and not options.get("--pid", "private").startswith(("host", "container:", "ns:")):
        added.append("--init")
    before = [word for word in argv[: at - 1] if word != "container"]
    return ContainerRun([*argv[:at], *added, *argv[at:]], [*before, "rm", "-fv", name], name)


def _find_run(argv: Sequence[str]) -> int | None:
    """Return the place behind the word `run`; None for any other command."""
    if not argv or argv[0].rpartition("/")[2] not in ENGINES:
        return None
    words = iter(range(1, len(argv)))
    for at in words:
        word = argv[at]
        if word == "run":
            return at + 1
        if word in _GLOBAL_VALUES:
            next(words, None)
        elif word != "container" and not word.startswith("-"):
            return None
    return None


def _read_options(words: Sequence[str]) -> dict[str, str]:
    """Return the options in front of the image, by name, with their last values."""
    found: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if word == "--" or not word.startswith("-") or word == "-":
            break
        if word.startswith("--"):
            name, has_value, value = word.partition("=")
            if not has_value and name not in _RUN_FLAGS:
                value = next(rest, "")
            found[name] = value
        elif not _has_own_value(word):
            next(rest, None)
    return found


def _has_own_value(cluster: str) -> bool:
    """Return whether short options in one word need no word more: flags, or the last one has its value behind it."""
    for at, letter in enumerate(cluster[1:], 2):
        if letter not in _RUN_SHORT_FLAGS:
            return at < len(cluster)
    return True
