"""Tags and catalog, page by page."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.content import INDEX, Client, digest_of, encode, index
from tests.protocol.transcript import USERS
from tests.raw_http import Answer
from tests.servers import Moorage

EMPTY_INDEX = encode(index())

# In the order of their bytes: digits, capitals, underscore, small letters; and one the beginning of the other.
TAGS = [
    "0",
    "1.0",
    "1.0-rc.1",
    "1.0.0",
    "1.00",
    "10",
    "A",
    "B",
    "Z",
    "_a",
    "a",
    "a-b",
    "a.b",
    "a_b",
    "aa",
    "b",
    "latest",
]
NAMES = ["a", "a-b", "a-b/c", "a.b", "a/b", "a/b/c", "a/bc", "a0", "a_b", "aa", "ab", "b", "b/a", "c0", "z/z/z/z"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A registry whose pages are at most 10 entries, with these tags and repositories."""
    environment = {"MOORAGE_LISTING_CATALOG_MAX_ENTRIES": "10", "MOORAGE_LISTING_TAGS_MAX_ENTRIES": "10"}
    folder = tmp_path_factory.mktemp("small")
    with Moorage(folder, "--workers", "2", users=USERS, environment=environment) as server:
        client = Client(server, "alice", USERS["alice"])
        for repository in reversed(NAMES):
            assert client.push_manifest(repository, "latest", EMPTY_INDEX, INDEX).status == 201
        for tag in reversed(TAGS):
            assert client.push_manifest("a", tag, EMPTY_INDEX, INDEX).status == 201
        yield client


def names_of(answer: Answer) -> list[str]:
    """The entries of a page."""
    assert answer.status == 200, answer
    body = answer.json()
    found: list[str] = body["tags"] if "tags" in body else body["repositories"]
    return found


def next_of(answer: Answer) -> str | None:
    """Where the next page is: a path of this server, as every Link must be."""
    if not answer.values("link"):
        return None
    match = re.fullmatch(r'<(/v2/[!-~]+)>; rel="next"', answer.header("link"))
    assert match is not None, answer
    return match[1]


def follow(client: Client, target: str) -> list[list[str]]:
    """Every page from *target* on."""
    pages = []
    following: str | None = target
    while following is not None:
        answer = client.ask("GET", following)
        pages.append(names_of(answer))
        following = next_of(answer)
    return pages


LISTS = [("/v2/a/tags/list", TAGS), ("/v2/_catalog", NAMES)]


@pytest.mark.parametrize(("path", "everything"), LISTS, ids=["tags", "catalog"])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 9, 10])
def test_pages_have_exactly_n_entries_in_ascii_order(
    path: str, everything: list[str], count: int, small: Client
) -> None:
    """Every entry comes once; only the last page may be shorter, and it has no Link."""
    pages = follow(small, f"{path}?n={count}")

    assert [name for page in pages for name in page] == everything
    assert all(len(page) == count for page in pages[:-1])
    assert 1 <= len(pages[-1]) <= count


@pytest.mark.parametrize(("path", "everything"), LISTS, ids=["tags", "catalog"])
def test_no_link_when_the_last_page_is_just_full(path: str, everything: list[str], small: Client) -> None:
    """A Link means that there is more."""
    last_five = small.ask("GET", f"{path}?n=5&last={everything[-6]}")

    assert names_of(last_five) == everything[-5:]
    assert next_of(last_five) is None


@pytest.mark.parametrize(("path", "everything"), LISTS, ids=["tags", "catalog"])
def test_without_n_a_page_is_as_large_as_pages_are(path: str, everything: list[str], small: Client) -> None:
    """And a Link leads on."""
    assert [len(page) for page in follow(small, path)] == [10, len(everything) - 10]


@pytest.mark.parametrize(("path", "everything"), LISTS, ids=["tags", "catalog"])
@pytest.mark.parametrize(
    "last", ["", "0", "1.0", "9", "Z", "a", "a-", "a/", "a/b", "a0", "b", "zz", "%C3%BC", "%7F", "~"]
)
def test_last_need_not_exist(path: str, everything: list[str], last: str, small: Client) -> None:
    """The page has what is above it, in the order of bytes."""
    decoded = bytes.fromhex(last.replace("%", "")).decode() if "%" in last else last

    pages = follow(small, f"{path}?n=4&last={last}")

    assert [name for page in pages for name in page] == [name for name in everything if name > decoded]


@pytest.mark.parametrize("path", ["/v2/a/tags/list", "/v2/_catalog"])
def test_zero_entries_are_an_empty_page_without_a_link(path: str, small: Client) -> None:
    """Not null, and nothing to follow for ever."""
    answer = small.ask("GET", f"{path}?n=0")

    assert (names_of(answer), next_of(answer)) == ([], None)


@pytest.mark.parametrize("path", ["/v2/a/tags/list", "/v2/_catalog"])
@pytest.mark.parametrize("count", ["", "-1", "+1", "1.0", "1e3", "0x1", "abc", "%201", "1%20", "%D9%A1", "1" * 20])
def test_what_is_no_number_is_refused(path: str, count: str, small: Client) -> None:
    """PAGINATION_NUMBER_INVALID: digits alone are a number."""
    answer = small.ask("GET", f"{path}?n={count}")

    assert (answer.status, answer.codes) == (400, ["PAGINATION_NUMBER_INVALID"])


def test_a_large_n_gets_as_many_tags_as_there_are_on_a_page(small: Client) -> None:
    """The rest comes by Link; the number costs nothing (CVE-2023-2253)."""
    answer = small.ask("GET", "/v2/a/tags/list?n=2000000000")

    assert names_of(answer) == TAGS[:10]
    assert next_of(answer) == f"/v2/a/tags/list?n=10&last={TAGS[9]}"


@pytest.mark.parametrize(("count", "status"), [(10, 200), (11, 400), (2_000_000_000, 400)])
def test_a_larger_n_than_a_catalog_page_is_refused(count: int, status: int, small: Client) -> None:
    """As listing.catalog_max_entries says, and as distribution does."""
    answer = small.ask("GET", f"/v2/_catalog?n={count}")

    assert answer.status == status
    assert status == 200 or answer.codes == ["PAGINATION_NUMBER_INVALID"]


def test_tags_of_a_repository_without_tags_are_a_list(small: Client) -> None:
    """`[]` and not null, and so after the last one is deleted."""
    small.push_manifest("untagged", digest_of(EMPTY_INDEX), EMPTY_INDEX, INDEX)
    never = small.ask("GET", "/v2/untagged/tags/list")
    small.push_manifest("untagged", "v1", EMPTY_INDEX, INDEX)
    small.ask("DELETE", "/v2/untagged/manifests/v1")
    after = small.ask("GET", "/v2/untagged/tags/list")
    small.ask("DELETE", f"/v2/untagged/manifests/{digest_of(EMPTY_INDEX)}")

    assert never.body == after.body == b'{"name":"untagged","tags":[]}'


def test_tags_that_differ_by_case_are_two(alice: Client, name: str) -> None:
    """Whatever the file system below thinks."""
    for tag in ("Release", "release", "RELEASE"):
        alice.push_manifest(name, tag, encode(index(annotations={"tag": tag})), INDEX)

    listed = names_of(alice.ask("GET", f"/v2/{name}/tags/list"))

    assert listed == ["RELEASE", "Release", "release"]
    assert alice.ask("GET", f"/v2/{name}/manifests/Release").json()["annotations"] == {"tag": "Release"}


@pytest.mark.parametrize("tag", ["a" * 128, "sha256-" + "0" * 64, "CON", "nul.txt", "_", "0", "list", "A-Z_a-z.0-9"])
def test_every_tag_of_the_grammar_is_one(tag: str, alice: Client, name: str) -> None:
    """128 characters, names that a file system may not like, and what looks like something else."""
    assert alice.push_manifest(name, tag, EMPTY_INDEX, INDEX).status == 201

    assert names_of(alice.ask("GET", f"/v2/{name}/tags/list")) == [tag]
    assert alice.ask("GET", f"/v2/{name}/manifests/{tag}").body == EMPTY_INDEX


@pytest.mark.parametrize(
    "repository",
    [
        "a/blobs",
        "a/manifests/b",
        "foo/uploads",
        "a/blobs/uploads",
        "tags/list",
        "v2",
        "a/tags/list/b",
        "referrers/sha256",
        "x__y/z.z/0-0--0",
        "a" * 255,
    ],
)
def test_a_repository_may_be_called_like_a_part_of_a_path(repository: str, alice: Client) -> None:
    """Paths are read from their end: the whole of a repository's life works under such a name."""
    layer = repository.encode()

    digest = alice.push_image(repository, "v1", layer)
    upload = alice.begin_upload(repository)

    assert upload.startswith(f"/v2/{repository}/blobs/uploads/")
    assert alice.ask("PUT", f"{upload}?digest={digest_of(b'more')}", None, b"more").status == 201
    assert alice.ask("GET", f"/v2/{repository}/blobs/{digest_of(layer)}").body == layer
    assert alice.ask("HEAD", f"/v2/{repository}/manifests/v1").header("docker-content-digest") == digest
    assert names_of(alice.ask("GET", f"/v2/{repository}/tags/list")) == ["v1"]
    assert alice.ask("GET", f"/v2/{repository}/referrers/{digest}").json()["manifests"] == []
    assert repository in names_of(alice.ask("GET", "/v2/_catalog"))


def test_a_new_repository_is_listed_by_every_worker_at_once(alice: Client, name: str) -> None:
    """No cache of the catalog or of tags."""
    assert alice.push_manifest(name, "v1", EMPTY_INDEX, INDEX).status == 201

    for _ in range(4):
        assert name in names_of(alice.ask("GET", "/v2/_catalog"))
        assert names_of(alice.ask("GET", f"/v2/{name}/tags/list")) == ["v1"]


def test_tags_without_n_are_all_of_them(alice: Client, name: str) -> None:
    """Scripts that never follow a Link see up to 10,000 tags; here 1,500, more than distribution's page."""
    digest = digest_of(EMPTY_INDEX)
    for start in range(0, 1500, 100):
        query = "&".join(f"tag=t{number:04}" for number in range(start, start + 100))
        assert alice.push_manifest(name, f"{digest}?{query}", EMPTY_INDEX, INDEX).status == 201

    answer = alice.ask("GET", f"/v2/{name}/tags/list")

    assert names_of(answer) == [f"t{number:04}" for number in range(1500)]
    assert next_of(answer) is None
