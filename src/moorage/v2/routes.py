"""Which request means what. Paths are read from the right, since a repository may be called `a/manifests/b`."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from moorage.auth.policy import Action
from moorage.oci.query import decode_component

_READ = {"GET": Action.PULL, "HEAD": Action.PULL}


class Route(NamedTuple):
    """An endpoint: its *name*, its *path* as the reference page shows it, and what each method needs.

    A method that is not in *actions* is refused; a route cannot exist without saying what it needs. *named*: it has a
    repository. *steady*: what GET and HEAD answer depends on nothing but method, path, If-None-Match and the database.
    """

    name: str
    path: str
    actions: dict[str, Action]
    named: bool = True
    steady: bool = False


PING = Route("ping", "/v2/", {"GET": Action.PING, "HEAD": Action.PING}, named=False, steady=True)
CATALOG = Route("catalog", "/v2/_catalog", {"GET": Action.CATALOG, "HEAD": Action.CATALOG}, named=False)
MANIFEST = Route(
    "manifest",
    "/v2/{name}/manifests/{reference}",
    {**_READ, "PUT": Action.PUSH, "DELETE": Action.DELETE},
    steady=True,
)
BLOB = Route("blob", "/v2/{name}/blobs/{digest}", {**_READ, "DELETE": Action.DELETE})
UPLOADS = Route("uploads", "/v2/{name}/blobs/uploads/", {"POST": Action.PUSH})
# Cancelling one's own upload is part of pushing: clients that may not delete do it (containers/image after a mount).
UPLOAD = Route(
    "upload",
    "/v2/{name}/blobs/uploads/{upload}",
    {
        "GET": Action.PUSH,
        "HEAD": Action.PUSH,
        "PATCH": Action.PUSH,
        "PUT": Action.PUSH,
        "DELETE": Action.PUSH,
    },
)
TAGS = Route("tags", "/v2/{name}/tags/list", _READ)
REFERRERS = Route("referrers", "/v2/{name}/referrers/{digest}", _READ)

ROUTES = (PING, CATALOG, MANIFEST, BLOB, UPLOADS, UPLOAD, TAGS, REFERRERS)


class Target(NamedTuple):
    """Where a path leads: a route, the raw repository name, and the raw last part."""

    route: Route
    repository: str
    argument: str


_BY_KIND = {"manifests": MANIFEST, "blobs": BLOB, "referrers": REFERRERS}


# Longer paths than any name and digest make are looked at anew each time: remembering them would fill the memory.
_MOST_REMEMBERED = 512


def find_target(raw: str) -> Target | None:
    """The target of a raw path, or None. Nothing is checked against a grammar yet.

    Percent escapes are decoded, but for those of a slash: a name that holds one stays as it is, and matches no grammar.
    Raises BadRequest for escapes that are none.
    """
    return _remember_target(raw) if len(raw) <= _MOST_REMEMBERED else _find_target(raw)


def _find_target(raw: str) -> Target | None:
    path = raw if "%" not in raw or "%2f" in raw.lower() else decode_component(raw)
    if path in {"/v2/", "/v2"}:
        return Target(PING, "", "")
    if path == "/v2/_catalog":
        return Target(CATALOG, "", "")
    if not path.startswith("/v2/"):
        return None
    head, _, argument = path[4:].rpartition("/")
    repository, _, kind = head.rpartition("/")
    if kind == "uploads" and repository.endswith("/blobs"):
        return Target(UPLOAD if argument else UPLOADS, repository.removesuffix("/blobs"), argument)
    if kind == "blobs" and argument == "uploads":
        return Target(UPLOADS, repository, "")
    if kind == "tags" and argument == "list":
        return Target(TAGS, repository, "")
    route = _BY_KIND.get(kind)
    return None if route is None else Target(route, repository, argument)


_remember_target = lru_cache(maxsize=8192)(_find_target)
