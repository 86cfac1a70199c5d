"""Describe a run as a Kubernetes Job, or as a plain Pod for podman. Pure: a deployment in, documents out.

No value of a deployment is changed or can become another line or option: a value that cannot be written as it is, is
refused (names.py). docs/kubernetes.md says what the fields mean for a run, and why they have these values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.integrations.kubernetes import names
from orchestrator.integrations.kubernetes.yaml import Value

USER: Final = 65532
"""User id of the Containerfile, as in other small images: no node has a user with this id."""

KUBELET_SIGNAL_DELAY: Final = 2
"""Seconds that the container runtime may need to pass on the signal after the kubelet's clock has started."""

CONTAINER: Final = "supervisor"

SPOT_GRACE: Final = 15
"""Seconds that a kubelet of GKE gives a Pod on a Spot node, whatever its terminationGracePeriodSeconds (GKE: Spot VMs).
"""

INDEX: Final = "%a"
"""Stands for the completion index in a word of the command of an indexed Job."""

_SPOT_LABELS: Final = {
    "cloud.google.com/gke-spot": "true",
    "eks.amazonaws.com/capacityType": "SPOT",
    "karpenter.sh/capacity-type": "spot",
    "kubernetes.azure.com/scalesetpriority": "spot",
}
"""What the nodes are labelled, and often tainted, with that the clouds may take away."""

_ENDS_BY_SIGNAL: Final = (129, 130, 143)
"""Exit codes 128 + SIGHUP, SIGINT, SIGTERM: a stop was requested."""


@dataclass(frozen=True, slots=True)
class JournalVolume:
    """Place of the journal: a volume claim mounted at a directory, or a database whose URL is in a secret, or neither.

    With `size`, a new claim of that size is created; without it, the claim exists already.
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
    """Description of what runs, and where. `grace`: seconds from SIGTERM to SIGKILL. `resources`: the requests.

    `spot`: on nodes that the cloud may take away. `indexes`: so many Pods, each with the part of the work that INDEX in
    its command names, `parallelism` at a time; None: one Pod.
    """

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
    spot: bool = False
    indexes: int | None = None
    parallelism: int | None = None

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
    """Return terminationGracePeriodSeconds for a stop that may need this many seconds."""
    return math.ceil(needed) + KUBELET_SIGNAL_DELAY


def job_documents(deployment: Deployment) -> list[Value]:
    """Return the documents: a new claim for the journal, if there is one, and the Job."""
    is_indexed = deployment.indexes is not None
    spec: dict[str, Value] = {
        **_completions(deployment),
        "podReplacementPolicy": "Failed",  # never two supervisors at once on one journal
        "podFailurePolicy": {"rules": _rules(deployment.interrupted_exit_code, is_indexed=is_indexed)},
        "template": {"metadata": _template_metadata(deployment), "spec": _pod_spec(deployment)},
    }
    return [
        *_claims(deployment),
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": _metadata(deployment), "spec": spec},
    ]


def _completions(deployment: Deployment) -> dict[str, Value]:
    """Return how many Pods do the work, and how often one of them is replaced."""
    if deployment.indexes is None:
        return {"backoffLimit": deployment.backoff_limit, "completions": 1, "parallelism": 1}
    return {
        "completionMode": "Indexed",
        "completions": deployment.indexes,
        "parallelism": min(deployment.indexes, deployment.parallelism or deployment.indexes),
        "backoffLimitPerIndex": deployment.backoff_limit,  # one index that fails again and again ends no other one
    }


def pod_documents(deployment: Deployment) -> list[Value]:
    """Return the documents: a new claim for the journal, if there is one, and the Pod."""
    metadata = {**_metadata(deployment), **_template_metadata(deployment)}
    spec = _pod_spec(deployment, plain=True)
    return [*_claims(deployment), {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}]


def _rules(interrupted_exit_code: int | None, *, is_indexed: bool = False) -> list[Value]:
    """Return the rules of podFailurePolicy. The first match counts; no match (137, 139: a crash) is a failure."""
    ignored = list(_ENDS_BY_SIGNAL) if interrupted_exit_code is None else []
    counted = [75] if interrupted_exit_code is None else [interrupted_exit_code]
    final = [code for code in (1, 2) if code not in counted]  # some tasks failed for good; wrong usage
    rules: list[Value] = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
    if is_indexed:  # failed tasks are a matter of their index; wrong usage is the same for all
        rules += [{"action": "FailIndex" if code == 1 else "FailJob", "onExitCodes": _codes([code])} for code in final]
    else:
        rules.append({"action": "FailJob", "onExitCodes": _codes(final)})
    if ignored:
        rules.append({"action": "Ignore", "onExitCodes": _codes(ignored)})
    if any(counted):  # 0 is not a failure, and the API refuses a rule without values
        rules.append({"action": "Count", "onExitCodes": _codes(counted)})
    return rules


def _codes(codes: Sequence[int]) -> dict[str, Value]:
    return {"containerName": CONTAINER, "operator": "In", "values": sorted(codes)}


# -- the Pod ---------------------------------------------------------------------------------------------------


def _labels(deployment: Deployment) -> dict[str, Value]:
    return {"app.kubernetes.io/name": "quiesce", "app.kubernetes.io/instance": deployment.name}


def _metadata(deployment: Deployment) -> dict[str, Value]:
    where: dict[str, Value] = {"namespace": deployment.namespace} if deployment.namespace is not None else {}
    return {"name": deployment.name, **where, "labels": _labels(deployment)}


def _template_metadata(deployment: Deployment) -> dict[str, Value]:
    annotations: dict[str, Value] = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(deployment.probe_port),
        "prometheus.io/path": "/metrics",
    }
    return {"labels": _labels(deployment), "annotations": annotations}


def _pod_spec(deployment: Deployment, *, plain: bool = False) -> dict[str, Value]:
    return {
        **(_placement() if deployment.spot and not plain else {}),
        "restartPolicy": "Never",  # a podFailurePolicy asks for it: each try is a new Pod
        "terminationGracePeriodSeconds": deployment.grace,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": deployment.user,
            "runAsGroup": deployment.user,
            "fsGroup": deployment.user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(deployment, plain=plain)],
        "volumes": _volumes(deployment),
    }


def _placement() -> dict[str, Value]:
    """Return the affinity to nodes that the cloud may take away, whichever it is, and the tolerations of their taints.

    The terms of a required affinity are alternatives.
    """
    terms: list[Value] = [
        {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]} for key, value in _SPOT_LABELS.items()
    ]
    tolerations: list[Value] = [
        {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"} for key, value in _SPOT_LABELS.items()
    ]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {"affinity": {"nodeAffinity": required}, "tolerations": tolerations}


def _container(deployment: Deployment, *, plain: bool) -> dict[str, Value]:
    more: dict[str, Value] = {}
    if not plain:  # they only inform, and podman refuses them together with the host's network
        more["ports"] = [{"name": "probes", "containerPort": deployment.probe_port}]
    if deployment.resources:
        more["resources"] = {"requests": deployment.resources}
    return {
        "name": CONTAINER,
        "image": deployment.image,
        # exec form: no shell in front that would keep SIGTERM to itself. A kubelet expands $(NAME), podman does not
        "command": [word if plain else _expandable(word, deployment) for word in deployment.command],
        "env": _environment(deployment),
        **_probes(deployment, by_exec=plain),
        "terminationMessagePath": deployment.termination_message,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **more,
        "volumeMounts": _mounts(deployment),
    }


def _expandable(word: str, deployment: Deployment) -> str:
    """Return a word as the kubelet expands it: nothing of it, but the completion index of an indexed Job."""
    text = word.replace("$", "$$")
    return text if deployment.indexes is None else text.replace(INDEX, "$(JOB_COMPLETION_INDEX)")


def _environment(deployment: Deployment) -> list[Value]:
    variables: list[Value] = [{"name": "HOME", "value": "/tmp"}]  # noqa: S108 - the one place that is writable for all
    if deployment.journal.secret is not None:
        name, key = deployment.journal.secret
        source: Value = {"secretKeyRef": {"name": name, "key": key}}
        variables.append({"name": "QUIESCE_JOURNAL", "valueFrom": source})
    return variables


def _probes(deployment: Deployment, *, by_exec: bool) -> dict[str, Value]:
    """Return the probes. The start may take minutes (imports of the agent); then three misses mean a stuck loop."""
    kinds = (
        ("startupProbe", "/startupz", 2, 150),
        ("livenessProbe", "/livez", 10, 3),
        ("readinessProbe", "/readyz", 5, 1),
    )
    return {
        kind: {
            **_probe_action(path, deployment.probe_port, by_exec=by_exec),
            "periodSeconds": period,
            "timeoutSeconds": min(period, 5),
            "failureThreshold": failures,
        }
        for kind, path, period, failures in kinds
    }


def _probe_action(path: str, port: int, *, by_exec: bool) -> dict[str, Value]:
    """Return the action of a probe. podman runs `curl` in the container for httpGet, and a small image has none.

    The words of the command need no quoting: podman joins them into one line for a shell.
    """
    if by_exec:
        return {"exec": {"command": ["quiesce", "probe", str(port), path]}}
    return {"httpGet": {"path": path, "port": port}}


# -- its volumes -----------------------------------------------------------------------------------------------


def _mounts(deployment: Deployment) -> list[Value]:
    mounts: list[Value] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - a volume of the Pod's own
    if deployment.journal.claim is not None:
        mounts.append({"name": "journal", "mountPath": deployment.journal.directory})
    if deployment.config_map is not None:
        mounts.append({"name": "input", "mountPath": "/input", "readOnly": True})
    return mounts


def _volumes(deployment: Deployment) -> list[Value]:
    volumes: list[Value] = [{"name": "tmp", "emptyDir": {}}]
    if deployment.journal.claim is not None:
        volumes.append({"name": "journal", "persistentVolumeClaim": {"claimName": deployment.journal.claim}})
    if deployment.config_map is not None:
        volumes.append({"name": "input", "configMap": {"name": deployment.config_map}})
    return volumes


def _claims(deployment: Deployment) -> list[Value]:
    if deployment.journal.claim is None or deployment.journal.size is None:
        return []
    mode = "ReadWriteOnce" if deployment.indexes is None else "ReadWriteMany"  # Pods on several nodes
    spec: Value = {"accessModes": [mode], "resources": {"requests": {"storage": deployment.journal.size}}}
    metadata = {**_metadata(deployment), "name": deployment.journal.claim}
    return [{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}]
