"""Tags and digests that nobody should send, and odd ones that are good."""

from __future__ import annotations

import pytest

from tests.content import MANIFEST, OCTETS, digest_of, encode, image
from tests.hostile.target import REPOSITORY, Target

HEX = "0123456789abcdef" * 4

BAD_TAGS = [
    ("one dot", "."),
    ("two dots", ".."),
    ("a dash at the front", "-x"),
    ("129 characters", "t" * 129),
    ("a plus", "1.0+build"),
    ("an escaped plus", "1.0%2Bbuild"),
    ("an escaped space", "a%20b"),
    ("a full-width letter", "%EF%BC%A1"),
    ("an escaped line end and a header", "a%0D%0AX-Evil"),
    ("a wildcard of SQL's", "%25"),
    ("a quote", "a'b"),
]


@pytest.mark.parametrize(("words", "tag"), BAD_TAGS, ids=[row[0] for row in BAD_TAGS])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_bad_tag_is_refused(target: Target, method: str, words: str, tag: str) -> None:
    """What is no tag is refused with TAG_INVALID, whatever is to be done with it."""
    body = target.manifest if method == "PUT" else None
    answer = target.alice.ask(method, f"/v2/{REPOSITORY}/manifests/{tag}", {"Content-Type": MANIFEST}, body)

    assert answer.status == 400, words
    assert method == "HEAD" or answer.codes == ["TAG_INVALID"]


@pytest.mark.parametrize("reference", ["a/b", "sha256:../../../../../etc/passwd"])
def test_slash_in_a_reference_leads_elsewhere(target: Target, reference: str) -> None:
    """`a/b` behind `manifests/` is another route, and there is none."""
    answer = target.alice.ask("GET", f"/v2/{REPOSITORY}/manifests/{reference}")

    assert answer.status == 404
    assert answer.codes == ["NAME_UNKNOWN"]


BAD_DIGESTS = [
    ("a colon in what might be a tag", "a:b"),
    ("63 digits", f"sha256:{HEX[1:]}"),
    ("65 digits", f"sha256:{HEX}0"),
    ("upper-case digits", f"sha256:{HEX.upper()}"),
    ("an upper-case algorithm", f"SHA256:{HEX}"),
    ("a letter beyond f", f"sha256:{HEX[:-1]}g"),
    ("full-width digits", "sha256:" + "%EF%BC%91" * 64),
    ("parent folders", "sha256:.."),
    ("an escaped path", "sha256:..%2F..%2Fetc%2Fpasswd"),
    ("nothing behind the colon", "sha256:"),
    ("nothing before the colon", f":{HEX}"),
    ("a line feed behind it", f"sha256:{HEX}%0A"),
    ("md5", "md5:d41d8cd98f00b204e9800998ecf8427e"),
    ("sha1", "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    ("sha384, which is not registered", "sha384:" + "0" * 96),
    ("sha512 with sha256's length", f"sha512:{HEX}"),
    ("sha256 with sha512's length", f"sha256:{HEX}{HEX}"),
    ("blake3, which is only reserved", f"blake3:{HEX}"),
]


@pytest.mark.parametrize(("words", "digest"), BAD_DIGESTS, ids=[row[0] for row in BAD_DIGESTS])
@pytest.mark.parametrize("route", ["manifests", "blobs", "referrers"])
def test_bad_digest_is_refused(target: Target, route: str, words: str, digest: str) -> None:
    """What is no digest of a registered algorithm is refused with DIGEST_INVALID wherever one is due."""
    answer = target.alice.ask("GET", f"/v2/{REPOSITORY}/{route}/{digest}")

    assert answer.status == 400, words
    assert answer.codes == ["DIGEST_INVALID"]


@pytest.mark.parametrize(("words", "digest"), BAD_DIGESTS, ids=[row[0] for row in BAD_DIGESTS])
def test_bad_digest_ends_no_upload(target: Target, words: str, digest: str) -> None:
    """A bad digest at the closing PUT is refused, and the session goes on."""
    location = target.alice.begin_upload("refs/uploads")

    refused = target.alice.ask("PUT", f"{location}?digest={digest}", {"Content-Type": OCTETS}, b"abc")
    status = target.alice.ask("GET", location)

    assert refused.status == 400, words
    assert refused.codes == ["DIGEST_INVALID"]
    assert status.status == 204


@pytest.mark.parametrize("tag", ["CON", "aux.", "NUL.tar", "sha256-" + HEX, "_", "t" * 128, "0", "a..b", "Z-_.-"])
def test_odd_tag_is_good(target: Target, tag: str) -> None:
    """Names that some file systems refuse, and tags that only look like digests, are tags like others."""
    made = target.alice.push_image("refs/odd", tag, tag.encode())

    found = target.alice.ask("GET", f"/v2/refs/odd/manifests/{tag}")

    assert found.header("docker-content-digest") == made


def test_tags_that_differ_by_case_are_two(target: Target) -> None:
    """`Latest` and `latest` name what each was pushed for."""
    upper = target.alice.push_image("refs/case", "Latest", b"upper")
    lower = target.alice.push_image("refs/case", "latest", b"lower")

    found = {tag: target.alice.ask("HEAD", f"/v2/refs/case/manifests/{tag}") for tag in ("Latest", "latest")}

    assert found["Latest"].header("docker-content-digest") == upper
    assert found["latest"].header("docker-content-digest") == lower


def test_sha512_is_a_digest_like_sha256(target: Target) -> None:
    """A blob pushed by its sha512 is found by it."""
    data = b"content under sha512"
    digest = digest_of(data, "sha512")

    pushed = target.alice.ask("POST", f"/v2/refs/long/blobs/uploads/?digest={digest}", {"Content-Type": OCTETS}, data)
    found = target.alice.ask("GET", f"/v2/refs/long/blobs/{digest}")

    assert pushed.status == 201
    assert found.body == data
    assert found.header("docker-content-digest") == digest


@pytest.mark.parametrize(
    ("words", "query"),
    [
        ("no digest", ""),
        ("an empty digest", "?digest="),
        ("a digest without a value", "?digest"),
        ("two digests", f"?digest={digest_of(b'abc')}&digest={digest_of(b'abc')}"),
        ("two different digests", f"?digest={digest_of(b'abc')}&digest={digest_of(b'x')}"),
        ("a digest in another parameter", f"?Digest={digest_of(b'abc')}"),
    ],
    ids=lambda value: value if "?" not in value else "",
)
def test_closing_put_needs_one_digest(target: Target, words: str, query: str) -> None:
    """A PUT that names no digest, or two, is refused."""
    location = target.alice.begin_upload("refs/uploads")

    answer = target.alice.ask("PUT", location + query, {"Content-Type": OCTETS}, b"abc")

    assert answer.status == 400, words
    assert answer.codes == ["DIGEST_INVALID"]


@pytest.mark.parametrize(
    ("words", "query", "status"),
    [
        ("500 tags", "&".join(f"tag=t{number}" for number in range(500)), 414),
        ("a bad tag among good ones", "tag=good1&tag=good2&tag=..&tag=good3", 400),
        ("an empty tag", "tag=good1&tag=", 400),
        ("a digest as a tag", f"tag=good1&tag=sha256:{HEX}", 400),
    ],
    ids=lambda value: value if isinstance(value, str) and "=" not in value else "",
)
def test_tag_parameters_are_all_or_nothing(target: Target, words: str, query: str, status: int) -> None:
    """When one tag of a push by digest cannot be, none is set and the manifest is not stored."""
    repository = "refs/parameters"
    layer = words.encode()
    for data in (b"{}", layer):
        target.alice.push_blob(repository, data)
    body = encode(image(b"{}", layer))
    path = f"/v2/{repository}/manifests/{digest_of(body)}"

    refused = target.alice.ask("PUT", f"{path}?{query}", {"Content-Type": MANIFEST}, body)

    assert refused.status == status
    assert target.alice.ask("GET", path).status == 404
    assert target.alice.ask("GET", f"/v2/{repository}/manifests/good1").status == 404
    assert target.alice.ask("GET", f"/v2/{repository}/tags/list").json()["tags"] == []


def test_too_long_a_target_is_414(target: Target) -> None:
    """A request target beyond 8 KiB is refused as too long, before anybody looks at its parts."""
    answer = target.alice.ask("GET", f"/v2/{REPOSITORY}/manifests/v1?{'tag=t&' * 2000}")

    assert answer.status == 414
