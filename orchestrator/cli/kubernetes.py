"""`quiesce manifest`: print a run as a Kubernetes Job, or as a Pod for podman."""

from __future__ import annotations

import math
import os
import re
from typing import Annotated
from urllib.parse import urlsplit

import typer

from orchestrator.cli import stdout
from orchestrator.cli.declare import Option
from orchestrator.cli.exit import print_error
from orchestrator.cli.run_command import RunCommand, parse
from orchestrator.core.stop_budget import fit
from orchestrator.integrations.kubernetes.manifest import (
    INDEX,
    SPOT_GRACE,
    USER,
    Deployment,
    JournalVolume,
    grace_seconds,
    job_documents,
    pod_documents,
)
from orchestrator.integrations.kubernetes.termination import DEFAULT_PATH
from orchestrator.integrations.kubernetes.yaml import dump
from orchestrator.journal import unsupported_reason
from runtime.errors import UsageError

PROBE_PORT = 8080
DEFAULT_JOURNAL = "/data/quiesce.db"
EVERYWHERE = "*"

ImageOption = Annotated[str, Option(help="The image: quiesce, the agent, and what it needs (see Containerfile).")]
NameOption = Annotated[
    str | None,
    Option(metavar="NAME", help="The name of the Job and the id of the run. (default: the name of the input file)"),
]
PodOption = Annotated[bool, Option("--pod", help="Print a plain Pod, for `podman play kube`.")]
NamespaceOption = Annotated[str | None, Option(metavar="NAME", help="The namespace.")]
ClaimOption = Annotated[
    str | None,
    Option(metavar="CLAIM", help="Keep the journal on this volume claim. (default: a new one is printed)"),
]
SizeOption = Annotated[str, Option(metavar="QUANTITY", help="The size of a new claim.")]
SecretOption = Annotated[
    str | None, Option(metavar="NAME/KEY", help="Take the journal's URL from a secret, instead of a volume.")
]
ConfigMapOption = Annotated[
    str | None, Option(metavar="NAME", help="Mount a config map at /input, for --input /input/KEY.")
]
CpuOption = Annotated[str | None, Option(metavar="QUANTITY", help="Processor time to request, like 2 or 500m.")]
MemoryOption = Annotated[str | None, Option(metavar="QUANTITY", help="Memory to request, like 2Gi.")]
UserOption = Annotated[int, Option(min=1, max=2**31 - 1, help="The user and group id to run as.")]
SpotOption = Annotated[
    bool,
    typer.Option("--spot", help="Run on nodes that the cloud may take away: the graces fit into the 15 s of GKE Spot."),
]
IndexedOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=2**31 - 1,
        metavar="N",
        help="Print an indexed Job: N Pods, each a run; %a in --input is its index.",
    ),
]
ParallelismOption = Annotated[
    int | None, typer.Option(min=1, max=2**31 - 1, metavar="N", help="Pods of an indexed Job at a time. (default: all)")
]
BackoffOption = Annotated[int, Option(min=0, max=2**31 - 1, help="How often a failed Pod is replaced.")]


def register(app: typer.Typer) -> None:
    """Add the command to an app. Options that it does not know are options of `run`."""
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
    user: UserOption = USER,
    backoff_limit: BackoffOption = 6,
    spot: SpotOption = False,
    indexed: IndexedOption = None,
    parallelism: ParallelismOption = None,
) -> None:
    """Print a Kubernetes Job for `quiesce run AGENT …`: give the agent and the options of `run` as well.

    A Pod that was evicted, drained or lost is replaced, and the new Pod resumes the run.
    """
    command = parse(context.args, "quiesce manifest", remote_paths=True)
    given = command.given
    part_of_input = os.path.basename(command.sources[0]).partition(".")[0] if indexed is not None else None
    name = _dns_name(name or given.get("run_id") or (part_of_input or command.run_id).replace(INDEX, ""))
    journal = _journal(command.journal, name, journal_claim, journal_size, journal_secret)
    if journal.claim is not None:
        _refuse_taken(journal.directory, config_map)
    _check_indexed(command, indexed, parallelism, pod=pod)
    grace = _grace(command, spot=spot)
    deployment = Deployment(
        name=name,
        image=image,
        command=_words(command, name, grace, journal, is_indexed=indexed is not None),
        grace=grace,
        probe_port=_probe_port(command, pod=pod),
        journal=journal,
        namespace=namespace,
        config_map=config_map,
        user=user,
        backoff_limit=backoff_limit,
        interrupted_exit_code=given.get("interrupted_exit_code"),
        resources={key: value for key, value in (("cpu", cpu), ("memory", memory)) if value is not None},
        termination_message=given.get("termination_message") or DEFAULT_PATH,
        spot=spot,
        indexes=indexed,
        parallelism=parallelism,
    )
    documents = pod_documents(deployment) if pod else job_documents(deployment)
    use = "podman play kube FILE" if pod else "kubectl apply -f FILE"
    stdout.print_all(f"# Use: {use}. What the fields mean for a run: docs/kubernetes.md\n" + dump(*documents))


def _grace(command: RunCommand, *, spot: bool) -> int:
    """Return terminationGracePeriodSeconds: --host-grace, else what the ladder needs; SPOT_GRACE at most on Spot nodes.

    Print a warning if the graces do not fit into that.
    """
    settings = command.settings
    if settings.host_grace is not None:
        return math.ceil(settings.host_grace)
    needed = grace_seconds(settings.fit(settings.grace, settings.term_grace).needed)
    if not spot or needed <= SPOT_GRACE:
        return needed
    fitted = fit(settings.ladder, SPOT_GRACE)
    print_error(
        f"quiesce: warning: a Spot node gives a Pod {SPOT_GRACE} s, and the ladder needs {needed} s: shortened to "
        f"{fitted.ladder.grace:.3g} + {fitted.ladder.term_grace:.3g} s; lower --grace and --term-grace, or give "
        f"--host-grace where the node grants more"
    )
    return SPOT_GRACE


def _check_indexed(command: RunCommand, indexed: int | None, parallelism: int | None, *, pod: bool) -> None:
    """Raise UsageError for options that contradict each other, and if all indexes would do the same."""
    if indexed is None:
        if parallelism is not None:
            raise UsageError("--parallelism is about the Pods of an indexed Job: give --indexed N, too")
        return
    if pod:
        raise UsageError("--pod prints one Pod: leave out --indexed")
    if not any(INDEX in source for source in command.sources):
        raise UsageError(f"--indexed: every Pod would have the same input; write {INDEX} in an --input")


def _probe_port(command: RunCommand, *, pod: bool) -> int:
    """Return the port of the probes. Raises UsageError if a kubelet could not reach it; podman asks from inside."""
    port: int = command.given.get("probe_port", PROBE_PORT)
    if port == 0:
        raise UsageError("--probe-port 0 is an unknown port: a manifest has to name the port")
    address = command.given.get("probe_address", EVERYWHERE)
    if not pod and (address.startswith("127.") or address in ("localhost", "::1")):
        raise UsageError(
            f"--probe-address {address}: a kubelet asks from outside of the Pod and would get no answer; use *"
        )
    return port


def _refuse_taken(directory: str, config_map: str | None) -> None:
    """Raise UsageError if another volume is mounted at the journal's directory: the API refuses two at one path."""
    taken = {"/tmp": "is a volume that is lost with the Pod"}  # noqa: S108 - a volume of the Pod
    if config_map is not None:
        taken["/input"] = "is the config map, and read-only"
    if directory in taken:
        raise UsageError(f"--journal {directory}/…: {directory} {taken[directory]}; choose another directory")


def _words(
    command: RunCommand, name: str, grace: int, journal: JournalVolume, *, is_indexed: bool = False
) -> list[str]:
    """Return the command of the container: the given words, and the options that a Pod needs beside them."""
    needed = {
        "host_grace": ["--host-grace", str(grace)],
        "probe_port": ["--probe-port", str(PROBE_PORT)],
        "probe_address": ["--probe-address", EVERYWHERE],
        "log_format": ["--log-format", "json"],
        "progress": ["--progress", "plain"],
    }
    arguments = ["quiesce", "run", command.agent, *command.input_words]
    run_id = command.given.get("run_id") or name
    part = f"-{INDEX}" if is_indexed else ""
    arguments += ["--run-id", run_id if INDEX in run_id else run_id + part, "--or-resume"]
    if journal.secret is None:
        stem, extension = os.path.splitext(DEFAULT_JOURNAL)
        arguments += ["--journal", command.journal or f"{stem}{part}{extension}"]
    added = [word for option, pair in needed.items() if option not in command.given for word in pair]
    return [*arguments, *command.options, *added]


def _journal(path: str | None, name: str, claim: str | None, size: str, secret: str | None) -> JournalVolume:
    if secret is not None:
        if path is not None or claim is not None:
            raise UsageError(
                "--journal-secret holds the URL of the journal: give neither --journal nor --journal-claim"
            )
        secret_name, _, key = secret.partition("/")
        if not secret_name:
            raise UsageError(f"--journal-secret {secret}: a secret has a name: NAME/KEY")
        return JournalVolume(secret=(secret_name, key or "url"))
    if path is not None and "://" in path:
        if (reason := unsupported_reason(path)) is not None:
            print_error(f"quiesce: warning: {reason}")
        if urlsplit(path).password:
            raise UsageError("a password does not belong in a manifest: put the URL into a secret, --journal-secret")
        return JournalVolume()
    directory = os.path.normpath(os.path.dirname(path or DEFAULT_JOURNAL))
    if not directory.startswith("/") or directory == "/":
        raise UsageError(f"--journal {path}: a Pod's journal needs an absolute path, in a directory for its volume")
    return JournalVolume(claim or f"{name}-journal", directory, None if claim is not None else size)


def _dns_name(text: str) -> str:
    """Return text as a DNS label (RFC 1123): lower case letters, digits and hyphens, at most 52 of them."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:52].strip("-")
    if not name:
        raise UsageError(f"{text!r} makes no name for Kubernetes: give --name, of letters, digits and hyphens")
    return name
