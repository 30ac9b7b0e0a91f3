"""Lists with parameters that nobody should send."""

from __future__ import annotations

import pytest

from tests.content import MANIFEST, digest_of, encode, image
from tests.hostile.target import REPOSITORY, Target

BAD_COUNTS = [
    ("negative", "-1"),
    ("text", "abc"),
    ("nothing", ""),
    ("a float", "1e9"),
    ("20 digits", "99999999999999999999"),
    ("a full-width digit", "%EF%BC%91"),
    ("a superscript", "%C2%B2"),
    ("a plus", "%2B5"),
    ("a space", "+5"),
    ("an underscore", "1_000"),
    ("a line feed", "5%0A"),
    ("hexadecimal", "0x10"),
]


@pytest.mark.parametrize(("words", "count"), BAD_COUNTS, ids=[row[0] for row in BAD_COUNTS])
@pytest.mark.parametrize("path", [f"/v2/{REPOSITORY}/tags/list", "/v2/_catalog"])
def test_bad_count(target: Target, path: str, words: str, count: str) -> None:
    """`n` is ASCII digits or refused with PAGINATION_NUMBER_INVALID."""
    answer = target.alice.ask("GET", f"{path}?n={count}")

    assert answer.status == 400, words
    assert answer.codes == ["PAGINATION_NUMBER_INVALID"]


@pytest.mark.parametrize("count", ["2000000000", "9223372036854775807", "1000000000000000000"])
@pytest.mark.parametrize("path", [f"/v2/{REPOSITORY}/tags/list", "/v2/_catalog"])
def test_huge_count_allocates_nothing(target: Target, path: str, count: str) -> None:
    """A number beyond every page is cut to a page or refused (CVE-2023-2253)."""
    answer = target.alice.ask("GET", f"{path}?n={count}")

    assert answer.status in {200, 400}


@pytest.mark.parametrize("path", [f"/v2/{REPOSITORY}/tags/list", "/v2/_catalog"])
def test_count_of_zero_is_an_empty_page(target: Target, path: str) -> None:
    """`n=0` asks for nothing, gets it, and no Link."""
    answer = target.alice.ask("GET", f"{path}?n=0")

    assert [value for value in answer.json().values() if isinstance(value, list)] == [[]]
    assert answer.values("link") == []


@pytest.mark.parametrize("query", ["n=1&n=2", "last=a&last=b", "n=1&n=1"])
@pytest.mark.parametrize("path", [f"/v2/{REPOSITORY}/tags/list", "/v2/_catalog"])
def test_parameter_twice(target: Target, path: str, query: str) -> None:
    """A parameter that comes twice is refused."""
    assert target.alice.ask("GET", f"{path}?{query}").status == 400


@pytest.mark.parametrize(
    ("words", "last", "statuses"),
    [
        ("a path", "../../", {200}),
        ("a NUL", "%00", {400}),
        ("wildcards of SQL's", "%25", {200}),
        ("an underscore, which LIKE takes for anything", "_", {200}),
        ("a quote", "'%20OR%201=1--", {200}),
        ("a line end and a header", "a%0D%0AX-Evil:%201", {200}),
        ("an emoji", "%F0%9F%90%B3", {200}),
        ("bytes that are no UTF-8", "%FF", {400}),
        ("7,000 characters", "z" * 7000, {200}),
        ("a megabyte", "z" * (1 << 20), {414, 431}),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value and "%" not in value else "",
)
@pytest.mark.parametrize("path", [f"/v2/{REPOSITORY}/tags/list", "/v2/_catalog"])
def test_strange_last(target: Target, path: str, words: str, last: str, statuses: set[int]) -> None:
    """`last` is text to compare with and nothing else."""
    answer = target.alice.ask("GET", f"{path}?n=1000&last={last}")

    assert answer.status in statuses, words
    assert answer.values("x-evil") == []


def test_wildcards_compare_as_text(target: Target) -> None:
    """`_` and `%` stand for themselves: a list after `a_b` does not skip or repeat its neighbours."""
    for tag in ("a-b", "a_b", "axb", "b"):
        target.alice.push_image("lists/wild", tag, b"wild")

    after = {
        last: target.alice.ask("GET", f"/v2/lists/wild/tags/list?last={last}").json()["tags"]
        for last in ("a_b", "a-b", "a%25")
    }

    assert after == {"a_b": ["axb", "b"], "a-b": ["a_b", "axb", "b"], "a%25": ["a-b", "a_b", "axb", "b"]}


def test_names_with_a_common_beginning_are_all_listed(target: Target) -> None:
    """Page by page through the catalog no name is lost, though each begins like the one before."""
    names = [f"lists/p{middle}" for middle in ("", "-a", ".a", "/a", "_a", "a", "a/b", "ab")]
    for name in names:
        target.alice.push_image(name, "t", b"page")
    seen: list[str] = []
    path = "/v2/_catalog?n=3"

    while path:
        answer = target.alice.ask("GET", path)
        seen.extend(answer.json()["repositories"])
        link = answer.values("link")
        path = link[0].partition("<")[2].partition(">")[0] if link else ""

    assert [name for name in seen if name.startswith("lists/p")] == sorted(names)
    assert seen == sorted(set(seen))


@pytest.mark.parametrize("digest", ["sha256:abc", "latest", "sha256-" + "0" * 64, "..", "md5:" + "0" * 32])
def test_referrers_of_no_digest(target: Target, digest: str) -> None:
    """Referrers are asked for by digest; anything else is 400."""
    answer = target.alice.ask("GET", f"/v2/{REPOSITORY}/referrers/{digest}")

    assert answer.status == 400
    assert answer.codes == ["DIGEST_INVALID"]


@pytest.mark.parametrize(
    "artifact_type",
    [
        "a%25/b",
        "a/b%22",
        "a/b%0D%0AX-Evil:%201",
        "%F0%9F%90%B3",
        "'%20OR%201=1--",
        "a/%00"[:-3],
        "x" * 3000,
        "application/x_bom",
    ],
)
def test_artifact_type_filters_exactly(target: Target, artifact_type: str) -> None:
    """A filter that nothing equals selects nothing, and becomes no header."""
    target.alice.push_blob(REPOSITORY, b"{}")
    subject = {"mediaType": MANIFEST, "digest": target.manifest_digest, "size": len(target.manifest)}
    body = encode(image(b"{}") | {"subject": subject, "artifactType": "application/x-bom"})
    target.alice.push_manifest(REPOSITORY, digest_of(body), body)
    path = f"/v2/{REPOSITORY}/referrers/{target.manifest_digest}"

    filtered = target.alice.ask("GET", f"{path}?artifactType={artifact_type}")
    whole = target.alice.ask("GET", path)

    assert filtered.json()["manifests"] == []
    assert filtered.values("x-evil") == []
    assert filtered.header("oci-filters-applied") == "artifactType"
    assert digest_of(body) in [entry["digest"] for entry in whole.json()["manifests"]]


def test_many_referrers_come_in_pages(target: Target) -> None:
    """A list too large for one answer has a Link, and following it finds every referrer once."""
    repository = "lists/referrers"
    target.alice.push_blob(repository, b"{}")
    subject = {"mediaType": MANIFEST, "digest": digest_of(b"subject"), "size": 7}
    pushed = set()
    for number in range(5):
        text = {"n": str(number), "text": "x" * 800_000}
        body = encode(image(b"{}") | {"subject": subject, "annotations": text, "artifactType": "application/x"})
        assert target.alice.push_manifest(repository, digest_of(body), body).status == 201
        pushed.add(digest_of(body))
    path = f"/v2/{repository}/referrers/{subject['digest']}?artifactType=application%2Fx"
    seen: list[str] = []
    pages = 0

    while path:
        answer = target.alice.ask("GET", path)
        seen.extend(entry["digest"] for entry in answer.json()["manifests"])
        link = answer.values("link")
        path = link[0].partition("<")[2].partition(">")[0] if link else ""
        pages += 1
        assert not path or "artifactType=application%2Fx" in path

    assert pages > 1
    assert sorted(seen) == sorted(pushed)


@pytest.mark.parametrize("path", [f"/v2/{REPOSITORY}/tags/list", "/v2/_catalog"])
@pytest.mark.parametrize("query", ["&" * 2000, "=&=&=", "?n=1", "n", "n=1;last=a", "a=" + "&a=" * 1500])
def test_strange_query(target: Target, path: str, query: str) -> None:
    """A query string may be anything, and is answered 200 or 400."""
    assert target.alice.ask("GET", f"{path}?{query}").status in {200, 400}
