"""Real Pods without a cluster: podman plays the manifests that quiesce prints, in a store of its own.

The image is built from this checkout's Containerfile, on a base that is imported from the folder that
scripts/host_rootfs makes: no registry is needed. Image, base and wheels are kept in the cache; what a test
starts is removed at its end.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.hosts.machine import rootfs
from tests.support.cli import ROOT, run_cli

_TOOLS = ("podman", "runc", "catatonit", "conmon", "tar")
_RUN_ROOT = "/run/quiesce-podman"
_KEPT = 4
"""So many images of earlier checkouts stay in the cache."""

_WRAPPER = """#!/usr/bin/env python3
# runc, but for the limits that podman asks for by default and that a host without CAP_SYS_RESOURCE refuses.
import json, os, sys
def strip(path):
    with open(path) as file:
        config = json.load(file)
    config.get("process", config).pop("rlimits", None)
    with open(path, "w") as file:
        json.dump(config, file)
for option, name in (("--bundle", "config.json"), ("--process", "")):
    if option in sys.argv:
        strip(os.path.join(sys.argv[sys.argv.index(option) + 1], name).rstrip("/"))
os.execvp("runc", ["runc", *sys.argv[1:]])
"""


def why_not() -> str | None:
    """Why no Pod can be played here, or None."""
    if sys.platform != "linux":
        return "Pods need Linux"
    if os.geteuid() != 0:
        return "playing a Pod without a user namespace needs root"
    missing = [tool for tool in _TOOLS if not (shutil.which(tool) or os.path.exists(f"/usr/libexec/podman/{tool}"))]
    return f"{', '.join(missing)} not installed (Debian: podman runc catatonit)" if missing else None


class Unavailable(Exception):
    """What is missing on this host. Whatever else goes wrong is a fault of the Containerfile, or of a test."""


class Podman:
    """The engine, with an image of this checkout. Raises Unavailable on a host that cannot have it."""

    def __init__(self) -> None:
        base = rootfs()
        if isinstance(base, str):
            raise Unavailable(base)
        self._cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "quiesce"
        self._lock = open(self._cache / "podman.lock", "w")  # noqa: SIM115 - until `close`
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self.image = self._made(base)
        except BaseException:
            self._lock.close()
            raise

    def _made(self, base: Path) -> str:
        """The image, whatever it takes."""
        self._runtime = self._cache / "runc-without-rlimits"
        self._runtime.write_text(_WRAPPER)
        self._runtime.chmod(0o755)
        self.clean()
        imported = self._import(base)
        tried = self.run("run", "--rm", "--network=none", imported, "true", check=False)
        if tried.returncode != 0:
            raise Unavailable(f"podman cannot run a container here: {tried.stderr.strip()[-300:]}")
        return self._build(imported)

    # -- images -------------------------------------------------------------------------------------------

    def _import(self, base: Path) -> str:
        name = f"localhost/quiesce-base:{base.stat().st_ino}"
        if not self.knows("image", name):
            tar = ["tar", "-C", str(base), "--exclude=./proc/*", "--exclude=./sys/*", "-c", "."]
            with subprocess.Popen(tar, stdout=subprocess.PIPE) as packing:
                done = subprocess.run(
                    [*self._words(), "import", "-", name], stdin=packing.stdout, capture_output=True, check=False
                )
            if done.returncode != 0:
                raise Unavailable(f"podman import: {done.stderr.decode().strip()[-300:]}")
        return name

    def _build(self, base: str) -> str:
        name = f"localhost/quiesce:test-{_checksum(base)}"
        if not self.knows("image", name):
            wheels = self._wheels()
            arguments = {"BASE": base, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"}
            given = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
            self.run(
                "build", "--isolation=chroot", "-q", "-t", name, "-v", f"{wheels}:/wheels:ro", *given, str(ROOT),
                timeout=600,
            )  # fmt: skip
            self._forget_old()
        return name

    def _forget_old(self) -> None:
        """Each change of the code makes a new image: the oldest ones go."""
        listed = self.run("images", "--sort", "created", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
        old = [name for name in listed if name.startswith("localhost/quiesce:test-")][_KEPT + 1 :]
        if old:
            self.run("rmi", "-f", *old, check=False)
            self.run("image", "prune", "-f", check=False)

    def _wheels(self) -> Path:
        """What pip is to install in the build, which has no network."""
        folder = self._cache / "wheels"
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        wanted = [
            *project["build-system"]["requires"],
            *project["project"]["dependencies"],
            *project["project"]["optional-dependencies"]["metrics"],
        ]
        command = [sys.executable, "-m", "pip", "wheel", "-q", "-w", str(folder), *wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode != 0:
            raise Unavailable(f"pip wheel: {done.stderr.strip()[-300:]}")
        return folder

    # -- commands -----------------------------------------------------------------------------------------

    def _words(self) -> list[str]:
        return [
            "podman", "--root", str(self._cache / "podman"), "--runroot", _RUN_ROOT, "--runtime", str(self._runtime),
            "--cgroup-manager=cgroupfs", "--events-backend=none", "--log-level=fatal",
        ]  # fmt: skip

    def run(self, *words: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """A podman command."""
        done = subprocess.run(
            [*self._words(), *words], capture_output=True, text=True, check=False, timeout=timeout, cwd=ROOT
        )
        if check and done.returncode != 0:
            raise RuntimeError(
                f"podman {' '.join(words)}: {done.returncode}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"
            )
        return done

    def knows(self, kind: str, name: str) -> bool:
        """Whether there is such an image, pod or volume."""
        return self.run(kind, "exists", name, check=False).returncode == 0

    def clean(self) -> None:
        """Remove every pod and volume of this store."""
        self.run("pod", "rm", "-a", "-f", "-t", "0", check=False)
        self.run("volume", "rm", "-a", "-f", check=False)

    def close(self) -> None:
        """Clean up, and let the next one have it."""
        self.clean()
        self._lock.close()

    def versions(self) -> dict[str, str]:
        """What was tested on what."""
        info = json.loads(self.run("info", "--format", "json").stdout)
        return {
            "podman": info["version"]["Version"],
            "runc": subprocess.run(["runc", "--version"], capture_output=True, text=True, check=True).stdout.split()[2],
            "kernel": platform.release().split("-")[0],
            "cgroups": info["host"]["cgroupVersion"],
            "python": self.run(
                "run", "--rm", "--network=none", "--entrypoint=python3", self.image, "-V"
            ).stdout.split()[1],
        }


def _checksum(base: str) -> str:
    """Of everything that goes into the image."""
    digest = hashlib.sha256(base.encode())
    paths = [ROOT / name for name in ("Containerfile", ".containerignore", "pyproject.toml")]
    paths += [path for name in ("orchestrator", "quiesce", "runtime") for path in sorted((ROOT / name).rglob("*.py"))]
    for path in paths:
        digest.update(str(path).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


class Pod:
    """A Pod that plays what `quiesce manifest --pod` prints. Removed at the end of the block."""

    def __init__(self, podman: Podman, document: Sequence[Any], folder: Path, config_maps: Sequence[Any] = ()) -> None:
        self._podman = podman
        self.name: str = document[-1]["metadata"]["name"]
        self.container = f"{self.name}-{document[-1]['spec']['containers'][0]['name']}"
        path = folder / f"{self.name}.yaml"
        path.write_text(yaml.safe_dump_all(document))
        maps = folder / f"{self.name}-maps.yaml"
        maps.write_text(yaml.safe_dump_all(config_maps))
        podman.run("play", "kube", "--network=host", "--configmap", str(maps), str(path))

    def inspect(self, what: str) -> str:
        """A field of the container's state, as a Go template."""
        return self._podman.run("inspect", self.container, "--format", f"{{{{{what}}}}}").stdout.strip()

    @property
    def pid(self) -> int:
        """Its process 1, as this host numbers it."""
        return int(self.inspect(".State.Pid"))

    def logs(self) -> str:
        """What it wrote to standard output and error."""
        done = self._podman.run("logs", self.container)
        return done.stdout + done.stderr

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as `kubectl exec` does."""
        return self._podman.run("exec", self.container, *command, check=False)

    def stop(self, grace: int) -> int:
        """SIGTERM, `grace` seconds, SIGKILL, as a kubelet does it. The exit code."""
        self._podman.run("pod", "stop", "-t", str(grace), self.name, timeout=grace + 60)
        return self.exit_code()

    def wait(self) -> int:
        """Wait for its end. The exit code."""
        return int(self._podman.run("wait", self.container).stdout.strip())

    def exit_code(self) -> int:
        """How it ended."""
        return int(self.inspect(".State.ExitCode"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._podman.run("pod", "rm", "-f", "-t", "0", self.name, check=False)


def printed(*words: str) -> list[Any]:
    """What `quiesce manifest WORDS` prints, read."""
    done = run_cli("manifest", *words)
    assert done.returncode == 0, done
    return list(yaml.safe_load_all(done.stdout))
