"""What is shipped: what is in sdist and wheel, built from a checkout that has been used, and the command of each."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.cli import ROOT, Running

PACKAGES = ("orchestrator", "quiesce", "runtime")
BUILT_IN = {
    "sdist": {"PKG-INFO"},
    "wheel": {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"},  # below *.dist-info
}
LEFTOVERS = (
    "build/lib/orchestrator/stale.py",
    "build/lib/orchestrator/__init__.py",
    "dist/quiesce-0.0.1.tar.gz",
    "quiesce.egg-info/SOURCES.txt",
    "quiesce.db",
    "notes.txt",
    ".venv/lib/python3/site-packages/other.py",
    "orchestrator/__pycache__/stale.cpython-311.pyc",
    "docs/quiesce.db-wal",
)
"""What lies about in a checkout that has been used, and belongs to no package."""

AGENT = """
import sys, runtime

def work(x, state):
    return [x * 2, runtime.__file__]
"""
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
"""The target of a relative link in Markdown, without its fragment."""


@dataclass(frozen=True)
class Built:
    """A checkout, and what was built from it."""

    checkout: Path
    sdist: Path
    wheel: Path
    wheel_of_sdist: Path


def tracked() -> list[str]:
    """The files of the project, as the version control has them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("no git checkout: there is no list of files to compare with")
    return [name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).exists()]


def build(tree: Path, kind: str, folder: Path) -> Path:
    """Run the build backend as pip does, without its isolation. The one file that it made."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "hatchling", "build", "-t", kind, "-d", folder],
        cwd=tree, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (made,) = folder.iterdir()
    return made


def fingerprints(tree: Path) -> Mapping[str, tuple[int, int]]:
    """Every file and directory, with size and time of change."""
    found = ((path, path.lstat()) for path in tree.rglob("*"))
    return {str(path): (status.st_size, status.st_mtime_ns) for path, status in found}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("packages")
    checkout = folder / "checkout"
    for name in tracked():
        target = checkout / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    for name in LEFTOVERS:
        target = checkout / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("raise ImportError('stale')\n")
    before = fingerprints(checkout)
    for path in (checkout, *checkout.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)  # a checkout that cannot be written; root is held to it by `before`
    try:
        sdist, wheel = (build(checkout, kind, folder / kind) for kind in ("sdist", "wheel"))
    finally:
        for path in (checkout, *checkout.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)
    assert fingerprints(checkout) == before, "building has written into the checkout"
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return Built(checkout, sdist, wheel, build(unpacked, "wheel", folder / "again"))


def names_in(archive: Path) -> set[str]:
    """The files of an sdist or wheel, without the sdist's top folder and the name of the wheel's metadata."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {re.sub(r"^[^/]+\.dist-info/", "", name) for name in wheel.namelist()}
    with tarfile.open(archive) as sdist:
        return {member.name.partition("/")[2] for member in sdist if member.isfile()}


def test_the_sdist_is_the_project_whole_and_nothing_else(built: Built) -> None:
    """Tests, docs, examples, scripts and changes; nothing that lies about in the checkout."""
    assert names_in(built.sdist) == {*tracked(), *BUILT_IN["sdist"]}


def test_the_wheel_is_the_packages_and_nothing_else(built: Built) -> None:
    """No stale module of an earlier build; the same from a checkout and from the sdist."""
    modules = {name for name in tracked() if name.startswith(tuple(f"{package}/" for package in PACKAGES))}
    assert {f"{package}/py.typed" for package in PACKAGES} <= modules
    assert names_in(built.wheel) == {*modules, *BUILT_IN["wheel"]}
    assert names_in(built.wheel_of_sdist) == names_in(built.wheel)


def test_what_can_be_run_in_the_checkout_can_be_run_in_the_sdist(built: Built) -> None:
    """`scripts/test`, `scripts/demo` and the like keep their mode."""
    with tarfile.open(built.sdist) as sdist:
        runnable = {member.name.partition("/")[2] for member in sdist if member.isfile() and member.mode & 0o100}
    assert runnable == {name for name in tracked() if os.access(ROOT / name, os.X_OK)}
    assert {"scripts/test", "scripts/demo", ".ci/run"} <= runnable


def relative_links(names: Iterable[str], tree: Path) -> Iterable[tuple[str, str]]:
    """Each link between files of the project: where it stands, and where it leads."""
    for name in names:
        if name.endswith(".md"):
            for link in LINK.findall((tree / name).read_text()):
                yield name, os.path.normpath(Path(name).parent / link)


def test_every_link_of_the_documents_leads_to_a_file_of_the_sdist(built: Built) -> None:
    names = names_in(built.sdist)
    links = list(relative_links(names, built.checkout))
    assert ("README.md", "CHANGELOG.md") in links
    folders = {os.fspath(folder) for name in names for folder in Path(name).parents}
    assert [f"{where}: {link}" for where, link in links if link not in names | folders] == []


def install(package: Path, home: Path) -> Path:
    """Install into a fresh environment; what quiesce needs comes from this one's."""
    venv.create(home, symlinks=True, with_pip=False)
    python = home / "bin/python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install", "--no-index"]
    done = subprocess.run([*pip, "--no-deps", str(package)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    library = sysconfig.get_path("purelib", vars={"base": str(home)})
    paths = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    Path(library, "dependencies.pth").write_text("".join(f"{path}\n" for path in paths))  # read at start, not followed
    return home / "bin/quiesce"


@pytest.mark.parametrize("source", ["wheel", "sdist"])
def test_the_command_of_a_fresh_environment_runs_agents(built: Built, source: str, tmp_path: Path) -> None:
    """Its executors have the modules of that environment, too."""
    quiesce = install(built.wheel if source == "wheel" else built.wheel_of_sdist, tmp_path / "venv")
    (tmp_path / "agents.py").write_text(AGENT)
    (tmp_path / "in.jsonl").write_text("1\n2\n3\n")
    words = ["run", "agents.py:work", "--input", "in.jsonl", "--workers", "2", "--run-id", "r"]
    with Running([quiesce, *words], cwd=tmp_path, env={"PYTHONPATH": ""}) as running:
        assert running.wait().returncode == 0, running
    with Running([quiesce, "results", "r", "--json"], cwd=tmp_path, env={"PYTHONPATH": ""}) as running:
        results = [json.loads(line) for line in running.wait().stdout.splitlines()]
    doubled, files = zip(*(result["value"] for result in results), strict=True)
    assert sorted(doubled) == [2, 4, 6]
    assert all(Path(file).is_relative_to(tmp_path / "venv") for file in files)
