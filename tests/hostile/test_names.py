"""Repository names and paths that nobody should send."""

from __future__ import annotations

import pytest

from tests.content import MANIFEST, Client, encode, image
from tests.hostile.target import Target
from tests.raw_http import Line, message
from tests.wire.served import memory

LONG = "/".join(["abcdefgh"] * 28) + "/abcd"
assert len(LONG) == 256

REFUSED = [
    ("upper case in a name", "/v2/UPPER/repo/tags/list", 400, "NAME_INVALID"),
    ("two slashes in a row", "/v2/a//b/manifests/x", 400, "NAME_INVALID"),
    ("parent folders at the front", "/v2/../../etc/passwd/manifests/x", 400, "NAME_INVALID"),
    ("a parent folder in the middle", "/v2/a/../b/manifests/x", 400, "NAME_INVALID"),
    ("the same folder in the middle", "/v2/a/./b/manifests/x", 400, "NAME_INVALID"),
    ("parent folders in escapes", "/v2/%2e%2e%2f%2e%2e%2fetc%2fpasswd/manifests/x", 400, "NAME_INVALID"),
    ("an escaped slash in a name", "/v2/a%2Fb/tags/list", 400, "NAME_INVALID"),
    ("an escaped slash between name and route", "/v2/a%2ftags/list", 404, "NAME_UNKNOWN"),
    ("an escaped slash between route and reference", "/v2/a/manifests%2fv1", 404, "NAME_UNKNOWN"),
    ("an escaped slash in a tag", "/v2/a/manifests/b%2Fc", 400, "TAG_INVALID"),
    ("an escaped slash in an upload's id", "/v2/a/blobs/uploads/..%2F..%2Fpasswd", 404, "BLOB_UPLOAD_UNKNOWN"),
    ("a backslash", "/v2/a%5Cb/tags/list", 400, "NAME_INVALID"),
    ("a NUL in a name", "/v2/a%00b/tags/list", 400, None),
    ("a line feed in a name", "/v2/a%0Ab/tags/list", 400, "NAME_INVALID"),
    ("a line feed after a name", "/v2/a%0A/tags/list", 400, "NAME_INVALID"),
    ("a line feed after a tag", "/v2/a/manifests/latest%0A", 400, "TAG_INVALID"),
    ("a NUL after a tag", "/v2/a/manifests/latest%00", 400, None),
    ("a name of 256 characters", f"/v2/{LONG}/tags/list", 400, "NAME_INVALID"),
    ("a name of 100 parts", "/v2/" + "a/" * 99 + "a/tags/list", 400, "NAME_INVALID"),
    ("the classic layout's own folder _layers", "/v2/a/_layers/tags/list", 400, "NAME_INVALID"),
    ("the classic layout's own folder _uploads", "/v2/a/_uploads/tags/list", 400, "NAME_INVALID"),
    ("a hidden folder", "/v2/a/.git/tags/list", 400, "NAME_INVALID"),
    ("three underscores", "/v2/a___b/tags/list", 400, "NAME_INVALID"),
    ("a dash at the front", "/v2/-a/tags/list", 400, "NAME_INVALID"),
    ("a dash at the end", "/v2/a-/tags/list", 400, "NAME_INVALID"),
    ("a homoglyph: Cyrillic а", "/v2/%D0%B0lpine/tags/list", 400, "NAME_INVALID"),
    ("a decomposed character", "/v2/cafe%CC%81/tags/list", 400, "NAME_INVALID"),
    ("a full-width digit", "/v2/a%EF%BC%91/tags/list", 400, "NAME_INVALID"),
    ("an emoji", "/v2/%F0%9F%90%B3/tags/list", 400, "NAME_INVALID"),
    ("an overlong slash", "/v2/a%C0%AFb/tags/list", 400, None),
    ("a surrogate in escapes", "/v2/a%ED%A0%80/tags/list", 400, None),
    ("a byte that is no UTF-8, in an escape", "/v2/a%FF/tags/list", 400, None),
    ("a broken escape", "/v2/a%zz/tags/list", 400, None),
    ("an escape that ends early", "/v2/a/tags/list%2", 400, None),
    ("raw bytes that are no UTF-8", b"/v2/\xff\xfe/tags/list", 400, None),
    ("a raw control character", b"/v2/a\x01b/tags/list", 400, None),
    ("a raw DEL", b"/v2/a\x7fb/tags/list", 400, None),
    ("an empty reference", "/v2/a/manifests/", 400, "TAG_INVALID"),
    ("an empty name before tags", "/v2//tags/list", 400, "NAME_INVALID"),
    ("no name before tags", "/v2/tags/list", 400, "NAME_INVALID"),
    ("no name before manifests", "/v2/manifests/x", 400, "NAME_INVALID"),
    ("no route at all", "/v2/a/b/c", 404, "NAME_UNKNOWN"),
    ("a route of somebody else's", "/v2/a/tags/list/", 404, "NAME_UNKNOWN"),
    ("a fragment", "/v2/a/tags/list#x", 404, None),
]


@pytest.mark.parametrize(("words", "path", "status", "code"), REFUSED, ids=[row[0] for row in REFUSED])
def test_bad_path_is_refused(target: Target, words: str, path: str | bytes, status: int, code: str | None) -> None:
    """A path outside the grammar is refused with the protocol's error body, whoever normalises it or not."""
    answer = target.alice.ask("GET", path)

    assert answer.status == status, words
    assert code is None or answer.codes == [code]


@pytest.mark.parametrize(("words", "path", "status", "code"), REFUSED, ids=[row[0] for row in REFUSED])
def test_bad_path_tells_a_stranger_nothing(
    target: Target, words: str, path: str | bytes, status: int, code: str | None
) -> None:
    """Without credentials the same paths are refused too, and never answered better than with them."""
    answer = target.stranger.ask("GET", path)

    assert answer.status in {400, 401}, words


@pytest.mark.parametrize(
    "name",
    [
        "a__b",
        "a--b",
        "a.b_c-d",
        "x/manifests/y",
        "blobs/uploads",
        "blobs/uploads/blobs/uploads",
        "v2",
        "v2/v2",
        "tags/list",
        "a/tags/list",
        "a/referrers/b",
        "manifests",
        "_catalog"[1:],
        LONG[:-1],
    ],
)
def test_odd_name_serves_consistently(target: Target, name: str) -> None:
    """A repository may be called like a route: what is pushed there is found there, by every route."""
    digest = target.alice.push_image(name, "t", b"layer of " + name.encode())
    layer = image(b"{}", b"layer of " + name.encode())["layers"][0]["digest"]

    manifest = target.alice.ask("GET", f"/v2/{name}/manifests/t")
    blob = target.alice.ask("GET", f"/v2/{name}/blobs/{layer}")
    tags = target.alice.ask("GET", f"/v2/{name}/tags/list")
    referrers = target.alice.ask("GET", f"/v2/{name}/referrers/{digest}")

    assert manifest.header("docker-content-digest") == digest
    assert blob.body == b"layer of " + name.encode()
    assert tags.json() == {"name": name, "tags": ["t"]}
    assert referrers.json()["manifests"] == []


def test_bad_name_changes_nothing(target: Target) -> None:
    """A push under a name outside the grammar leaves no repository behind."""
    bad = ["../../../tmp/moorage-was-here", "a/../b", "UPPER", "%2e%2e/%2e%2e", "a%2Fb"]
    before = _catalog(target.alice)

    statuses = [
        target.alice.ask("PUT", f"/v2/{name}/manifests/t", {"Content-Type": MANIFEST}, encode(image(b"{}"))).status
        for name in bad
    ] + [target.alice.ask("POST", f"/v2/{name}/blobs/uploads/", None, b"").status for name in bad]

    assert set(statuses) == {400}
    assert _catalog(target.alice) == before


def _catalog(client: Client) -> list[str]:
    names: list[str] = client.ask("GET", "/v2/_catalog").json()["repositories"]
    return names


def test_strange_paths_are_not_remembered(target: Target) -> None:
    """Thousands of long paths, all different, leave nothing behind in memory."""
    before = memory(target.server)
    with Line(target.server) as line:
        for turn in range(40):
            paths = [f"/v2/{turn}/{number}/{'a' * 7900}/tags/list" for number in range(100)]
            line.send_and_receive(*(message("GET", path) for path in paths))
            statuses = {line.answer().status for _ in paths}

    assert statuses == {401}
    assert memory(target.server) - before < 16 << 20
