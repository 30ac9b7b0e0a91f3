"""All steps, in the order in which readers look for theirs."""

from __future__ import annotations

from collections.abc import Callable

from moorage.trust.engines import buildkit, docker, docker_mac, docker_rootless, docker_windows, podman, system
from moorage.trust.kubernetes import containerd, k3s, kind, minikube
from moorage.trust.place import Place
from moorage.trust.shell import PASTE_HERE
from moorage.trust.step import Step
from moorage.trust.tools import crane, curl, helm, oras, regctl

_MAKERS: dict[str, Callable[[Place], Step]] = {
    "docker": docker,
    "docker-rootless": docker_rootless,
    "docker-mac": docker_mac,
    "docker-windows": docker_windows,
    "podman": podman,
    "containerd": containerd,
    "k3s": k3s,
    "kind": kind,
    "minikube": minikube,
    "buildkit": buildkit,
    "helm": helm,
    "oras": oras,
    "crane": crane,
    "regctl": regctl,
    "curl": curl,
    "system": system,
}
KEYS = tuple(_MAKERS)


def step(place: Place, key: str) -> Step:
    """What the client *key* has to do for the registry at *place*. Raises KeyError for none of `KEYS`."""
    return _MAKERS[key](place)


def steps(place: Place) -> tuple[Step, ...]:
    """Every client's."""
    return tuple(maker(place) for maker in _MAKERS.values())


def with_fingerprint(script: str, fingerprint: str) -> str:
    """*script* with a fingerprint in the place that is marked for it.

    Only for what is shown on the server's own terminal, or typed by a person; never for what goes over the network.
    """
    return script.replace(PASTE_HERE, PASTE_HERE.replace("''", f"'{fingerprint}'"), 1)
