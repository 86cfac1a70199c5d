"""`quiesce manifest`: a run as a Kubernetes Job, or as a Pod for podman."""

from __future__ import annotations

import math
import os
import re
import shlex
from typing import Annotated
from urllib.parse import urlsplit

import typer

from orchestrator.cli.runline import RunLine, parse
from orchestrator.hosts import manifest as kubernetes
from orchestrator.hosts.yaml import dump
from runtime.errors import UsageError

PROBE_PORT = 8080
DEFAULT_JOURNAL = "/data/quiesce.db"

ImageOption = Annotated[str, typer.Option(help="The image: quiesce, the agent, and what it needs (see Containerfile).")]
NameOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="The Job's name, and the run's id. [default: after the agent]")
]
PodOption = Annotated[bool, typer.Option("--pod", help="Print a plain Pod, for `podman play kube`.")]
NamespaceOption = Annotated[str | None, typer.Option(metavar="NAME", help="The namespace.")]
ClaimOption = Annotated[
    str | None, typer.Option(metavar="CLAIM", help="Keep the journal on this volume claim. [default: a new one is printed]")
]
SizeOption = Annotated[str, typer.Option(metavar="SIZE", help="The size of a new claim.")]
SecretOption = Annotated[
    str | None, typer.Option(metavar="NAME/KEY", help="Take the journal's URL from a secret, instead of a volume.")
]
ConfigMapOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Mount a config map at /input, for --input /input/KEY.")
]
CpuOption = Annotated[str | None, typer.Option(metavar="CPU", help="Processor time to request, like 2 or 500m.")]
MemoryOption = Annotated[str | None, typer.Option(metavar="SIZE", help="Memory to request, like 2Gi.")]
UserOption = Annotated[int, typer.Option(min=1, help="The user and group id to run as.")]
BackoffOption = Annotated[int, typer.Option(min=0, help="How often a Pod that failed is replaced.")]


def register(app: typer.Typer) -> None:
    """Add the command. What it does not know itself belongs to `run`."""
    app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})(manifest)


def manifest(
    context: typer.Context,
    *,
    image: ImageOption,
    name: NameOption = None,
    namespace: NamespaceOption = None,
    pod: PodOption = False,
    journal_claim: ClaimOption = None,
    journal_size: SizeOption = "1Gi",
    journal_secret: SecretOption = None,
    config_map: ConfigMapOption = None,
    cpu: CpuOption = None,
    memory: MemoryOption = None,
    user: UserOption = kubernetes.USER,
    backoff_limit: BackoffOption = 6,
) -> None:
    """Print a Kubernetes Job for `quiesce run AGENT …`: give the agent and the options of `run` as well.

    A Pod that was evicted, drained or lost is replaced, and the new one goes on where the old one ended.
    """
    line = parse(context.args)
    _refuse_streams(line)
    name = _dns_name(name or line.params["run_id"] or line.params["agent"].rpartition(":")[2])
    journal = _journal(line, name, journal_claim, journal_size, journal_secret)
    grace = math.ceil(line.params["host_grace"] or 0) if "host_grace" in line.given else 0
    grace = grace or kubernetes.grace_seconds(line.needed)
    deployment = kubernetes.Deployment(
        name=name,
        image=image,
        command=_command(line, name, grace, journal),
        grace=grace,
        probe_port=line.params["probe_port"] or PROBE_PORT,
        journal=journal,
        namespace=namespace,
        config_map=config_map,
        user=user,
        backoff_limit=backoff_limit,
        interrupted_exit_code=line.params["interrupted_exit_code"],
        resources={key: value for key, value in (("cpu", cpu), ("memory", memory)) if value is not None},
        termination_message=line.params["termination_message"] or "/dev/termination-log",
    )
    documents = kubernetes.pod(deployment) if pod else kubernetes.job(deployment)
    typer.echo(_heading(line, pod=pod) + dump(*documents), nl=False)


def _heading(line: RunLine, *, pod: bool) -> str:
    use = "podman play kube FILE" if pod else "kubectl apply -f FILE"
    return f"# quiesce run {shlex.join(line.words)}\n# Use: {use}. What the fields mean: docs/kubernetes.md\n"


def _refuse_streams(line: RunLine) -> None:
    if line.params["source"] in (None, "-"):
        raise UsageError("a Pod has no standard input: give --input FILE, a path inside the container")


def _command(line: RunLine, name: str, grace: int, journal: kubernetes.Journal) -> list[str]:
    """The words that were given, and what a Pod needs beside them."""
    wanted: dict[str, list[str]] = {
        "run_id": ["--run-id", name],
        "or_resume": ["--or-resume"],
        "host_grace": ["--host-grace", str(grace)],
        "probe_port": ["--probe-port", str(PROBE_PORT)],
        "probe_address": ["--probe-address", "*"],
        "log_format": ["--log-format", "json"],
        "progress": ["--progress", "off"],
    }
    if journal.secret is None:
        wanted["journal"] = ["--journal", DEFAULT_JOURNAL]
    added = [word for option, words in wanted.items() if option not in line.given for word in words]
    return ["quiesce", "run", *line.words, *added]


def _journal(line: RunLine, name: str, claim: str | None, size: str, secret: str | None) -> kubernetes.Journal:
    path = line.params["journal"] if "journal" in line.given else None
    if secret is not None:
        if path is not None or claim is not None:
            raise UsageError("--journal-secret stands alone: it is where the journal's URL comes from")
        secret_name, _, key = secret.partition("/")
        return kubernetes.Journal(secret=(secret_name, key or "url"))
    if path is not None and "://" in path:
        if urlsplit(path).password:
            raise UsageError("a password does not belong into a manifest: put the URL into a secret, --journal-secret")
        return kubernetes.Journal()
    directory = os.path.dirname(path or DEFAULT_JOURNAL)
    if not directory.startswith("/") or directory == "/":
        raise UsageError(f"--journal {path}: a Pod's journal needs an absolute path, in a directory for its volume")
    return kubernetes.Journal(claim or f"{name}-journal", directory, None if claim is not None else size)


def _dns_name(text: str) -> str:
    """A name as Kubernetes wants it (RFC 1123): lower case letters, digits and hyphens, at most 52 of them."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:52].strip("-")
    if not name:
        raise UsageError(f"{text!r} makes no name for Kubernetes: give --name, of letters, digits and hyphens")
    return name
