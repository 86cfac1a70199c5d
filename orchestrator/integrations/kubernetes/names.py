"""Check the values of a manifest: refuse those that Kubernetes would refuse or misread. Pure.

The rules are those of the API: names by RFC 1123 ("Object Names and IDs"), keys of secrets, quantities ("Resource
Management"), references of images. A word of the command may be any text, because YAML can write all of it; but an
argument of a process cannot contain NUL (execve(2)), and the API takes only UTF-8.
"""

from __future__ import annotations

import re
from typing import Final

from runtime.errors import UsageError
from runtime.reasons import escape_surrogates

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_KEY: Final = re.compile(r"(?!\.\.)(?!\.\Z)[-._a-zA-Z0-9]{1,253}")
_QUANTITY: Final = re.compile(r"(\d+(\.\d*)?|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?", re.ASCII)
_IMAGE: Final = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9._:/@\[\]-]*")


def check_label(option: str, name: str) -> None:
    """Raise UsageError unless a namespace or Job has a DNS label as its name."""
    if not _LABEL.fullmatch(name):
        raise UsageError(f"{option} {name!r} is not a name in Kubernetes: at most 63 of a-z, 0-9 and - inside")


def check_object_name(option: str, name: str) -> None:
    """Raise UsageError unless a claim, a secret or a config map has a DNS subdomain as its name."""
    if not _SUBDOMAIN.fullmatch(name):
        raise UsageError(f"{option} {name!r} is not a name in Kubernetes: at most 253 of a-z, 0-9, - and . inside")


def check_key(option: str, key: str) -> None:
    """Raise UsageError unless the key can be a key of a secret."""
    if not _KEY.fullmatch(key):
        raise UsageError(f"{option} {key!r} is not a key of a secret: use letters, digits, -, _ and .")


def check_quantity(option: str, quantity: str) -> None:
    """Raise UsageError unless the text is a quantity of a resource."""
    if not _QUANTITY.fullmatch(quantity):
        raise UsageError(f"{option} {quantity!r} is not a quantity in Kubernetes: write 2, 500m, 512Mi or 2Gi")


def check_image(image: str) -> None:
    """Raise UsageError unless the text is a reference of an image."""
    if not _IMAGE.fullmatch(image):
        raise UsageError(f"--image {image!r} is not a reference of an image: write registry/name:tag")


def check_text(what: str, text: str) -> None:
    """Raise UsageError for text that is not UTF-8 or contains NUL."""
    if escape_surrogates(text) != text or "\0" in text:
        raise UsageError(f"{what} {text!r} cannot be written into a manifest: it is not text in UTF-8 without NUL")


def check_mount_path(what: str, path: str) -> None:
    """Raise UsageError for a directory that no volume can be mounted at: the API refuses a colon."""
    check_text(what, path)
    if ":" in path:
        raise UsageError(f"{what} {path!r} cannot be the mount point of a volume: it contains a colon")
