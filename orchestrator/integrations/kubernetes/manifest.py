"""A run as a Kubernetes Job, or as a plain Pod for podman. Pure: a description goes in, a document comes out.

No word of a description changes on its way, or becomes another line or option: what cannot be written as it is, is
refused (`kubernetes_names.py`). What the fields mean for a run, and why they are as they are: docs/kubernetes.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.integrations.kubernetes import names
from orchestrator.integrations.kubernetes.yaml import Value

USER: Final = 65532
"""The user of our Containerfile, as in other small images: nobody that a node knows."""

KUBELET_SIGNAL_DELAY: Final = 2
"""Seconds between a kubelet's clock and the signal's arrival: the container runtime is in between."""

CONTAINER: Final = "supervisor"

_ENDS_BY_SIGNAL: Final = (129, 130, 143)
"""128 + SIGHUP, SIGINT, SIGTERM: somebody asked for it."""


@dataclass(frozen=True, slots=True)
class JournalVolume:
    """Where the journal is kept: a volume claim at a directory, or a database whose URL a secret holds, or neither.

    `size` makes a new claim of that size; without it the claim exists already.
    """

    claim: str | None = None
    directory: str = "/data"
    size: str | None = None
    secret: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for a word that Kubernetes would refuse, or read as another one."""
        names.check_mount_path("the journal's directory", self.directory)
        if self.claim is not None:
            names.check_object_name("--journal-claim", self.claim)
        if self.size is not None:
            names.check_quantity("--journal-size", self.size)
        if self.secret is not None:
            names.check_object_name("--journal-secret", self.secret[0])
            names.check_key("--journal-secret", self.secret[1])


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is to run, and where. `grace`: seconds between SIGTERM and SIGKILL. `resources`: what is requested."""

    name: str
    image: str
    command: Sequence[str]
    grace: int
    probe_port: int
    journal: JournalVolume
    namespace: str | None = None
    config_map: str | None = None
    user: int = USER
    backoff_limit: int = 6
    interrupted_exit_code: int | None = None
    resources: Mapping[str, str] | None = None
    termination_message: str = "/dev/termination-log"

    def __post_init__(self) -> None:
        """Raise UsageError for a word that Kubernetes would refuse, or read as another one."""
        names.check_image(self.image)
        names.check_label("--name", self.name)
        if self.namespace is not None:
            names.check_label("--namespace", self.namespace)
        if self.config_map is not None:
            names.check_object_name("--config-map", self.config_map)
        for resource, quantity in (self.resources or {}).items():
            names.check_quantity(f"--{resource}", quantity)
        for word in self.command:
            names.check_text("the word", word)
        names.check_text("--termination-message", self.termination_message)


def grace_seconds(needed: float) -> int:
    """What to ask for as terminationGracePeriodSeconds when a stop may need so many seconds."""
    return math.ceil(needed) + KUBELET_SIGNAL_DELAY


def job(it: Deployment) -> list[Value]:
    """The documents: a claim for the journal, if one is to be made, and the Job."""
    spec: dict[str, Value] = {
        "backoffLimit": it.backoff_limit,
        "completions": 1,
        "parallelism": 1,
        "podReplacementPolicy": "Failed",  # never two supervisors at once on one journal
        "podFailurePolicy": {"rules": _rules(it.interrupted_exit_code)},
        "template": {"metadata": _template_metadata(it), "spec": _pod_spec(it)},
    }
    return [*_claims(it), {"apiVersion": "batch/v1", "kind": "Job", "metadata": _metadata(it), "spec": spec}]


def pod(it: Deployment) -> list[Value]:
    """The documents: a claim for the journal, if one is to be made, and the Pod."""
    metadata = {**_metadata(it), **_template_metadata(it)}
    spec = _pod_spec(it, plain=True)
    return [*_claims(it), {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}]


def _rules(interrupted_exit_code: int | None) -> list[Value]:
    """The first that matches counts. What none matches (137: out of memory, 139: a crash) counts as a failure."""
    ignored = list(_ENDS_BY_SIGNAL) if interrupted_exit_code is None else []
    counted = [75] if interrupted_exit_code is None else [interrupted_exit_code]
    final = [code for code in (1, 2) if code not in counted]  # some tasks failed for good; wrong usage
    rules: list[Value] = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": _codes(final)},
    ]
    if ignored:
        rules.append({"action": "Ignore", "onExitCodes": _codes(ignored)})
    if any(counted):  # 0 is not a failure, and the API refuses a rule without values
        rules.append({"action": "Count", "onExitCodes": _codes(counted)})
    return rules


def _codes(codes: Sequence[int]) -> dict[str, Value]:
    return {"containerName": CONTAINER, "operator": "In", "values": sorted(codes)}


# -- the Pod ---------------------------------------------------------------------------------------------------


def _labels(it: Deployment) -> dict[str, Value]:
    return {"app.kubernetes.io/name": "quiesce", "app.kubernetes.io/instance": it.name}


def _metadata(it: Deployment) -> dict[str, Value]:
    where: dict[str, Value] = {"namespace": it.namespace} if it.namespace is not None else {}
    return {"name": it.name, **where, "labels": _labels(it)}


def _template_metadata(it: Deployment) -> dict[str, Value]:
    annotations: dict[str, Value] = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(it.probe_port),
        "prometheus.io/path": "/metrics",
    }
    return {"labels": _labels(it), "annotations": annotations}


def _pod_spec(it: Deployment, *, plain: bool = False) -> dict[str, Value]:
    return {
        "restartPolicy": "Never",  # a podFailurePolicy asks for it: each try is a new Pod
        "terminationGracePeriodSeconds": it.grace,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": it.user,
            "runAsGroup": it.user,
            "fsGroup": it.user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(it, plain=plain)],
        "volumes": _volumes(it),
    }


def _container(it: Deployment, *, plain: bool) -> dict[str, Value]:
    more: dict[str, Value] = {}
    if not plain:  # they only inform, and podman refuses them together with the host's network
        more["ports"] = [{"name": "probes", "containerPort": it.probe_port}]
    if it.resources:
        more["resources"] = {"requests": it.resources}
    return {
        "name": CONTAINER,
        "image": it.image,
        # exec form: no shell in front that would keep SIGTERM to itself. A kubelet expands $(NAME), podman does not
        "command": [word if plain else word.replace("$", "$$") for word in it.command],
        "env": _environment(it),
        **_probes(it, by_exec=plain),
        "terminationMessagePath": it.termination_message,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **more,
        "volumeMounts": _mounts(it),
    }


def _environment(it: Deployment) -> list[Value]:
    found: list[Value] = [{"name": "HOME", "value": "/tmp"}]  # noqa: S108 - the one place that is writable for all
    if it.journal.secret is not None:
        name, key = it.journal.secret
        source: Value = {"secretKeyRef": {"name": name, "key": key}}
        found.append({"name": "QUIESCE_JOURNAL", "valueFrom": source})
    return found


def _probes(it: Deployment, *, by_exec: bool) -> dict[str, Value]:
    """Patient at the start (an agent may import for minutes), then three misses in a row mean a stuck loop."""
    kinds = (
        ("startupProbe", "/startupz", 2, 150),
        ("livenessProbe", "/livez", 10, 3),
        ("readinessProbe", "/readyz", 5, 1),
    )
    return {
        kind: {
            **_question(path, it.probe_port, by_exec=by_exec),
            "periodSeconds": period,
            "timeoutSeconds": min(period, 5),
            "failureThreshold": failures,
        }
        for kind, path, period, failures in kinds
    }


def _question(path: str, port: int, *, by_exec: bool) -> dict[str, Value]:
    """What is asked. Of an httpGet podman makes a `curl` in the container, and a small image has none."""
    if by_exec:
        return {"exec": {"command": ["python3", "-m", "orchestrator.integrations.probes.client", str(port), path]}}
    return {"httpGet": {"path": path, "port": port}}


# -- its volumes -----------------------------------------------------------------------------------------------


def _mounts(it: Deployment) -> list[Value]:
    mounts: list[Value] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - a volume of the Pod's own
    if it.journal.claim is not None:
        mounts.append({"name": "journal", "mountPath": it.journal.directory})
    if it.config_map is not None:
        mounts.append({"name": "input", "mountPath": "/input", "readOnly": True})
    return mounts


def _volumes(it: Deployment) -> list[Value]:
    volumes: list[Value] = [{"name": "tmp", "emptyDir": {}}]
    if it.journal.claim is not None:
        volumes.append({"name": "journal", "persistentVolumeClaim": {"claimName": it.journal.claim}})
    if it.config_map is not None:
        volumes.append({"name": "input", "configMap": {"name": it.config_map}})
    return volumes


def _claims(it: Deployment) -> list[Value]:
    if it.journal.claim is None or it.journal.size is None:
        return []
    spec: Value = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": it.journal.size}}}
    metadata = {**_metadata(it), "name": it.journal.claim}
    return [{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}]
