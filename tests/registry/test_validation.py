"""Which content must be there, and which URLs may be named."""

from __future__ import annotations

import re
from typing import Any

import pytest

from moorage.errors import ManifestInvalid
from moorage.oci.manifest import Manifest, parse_manifest
from moorage.oci.media_types import OCI_LAYER, OCI_LAYER_NONDISTRIBUTABLE, OCI_MANIFEST
from moorage.registry.validation import Validation
from tests.registry.house import descriptor, encode, image, index

LINUX_AMD64, LINUX_ARM64 = ("linux", "amd64"), ("linux", "arm64")


def parsed(document: dict[str, Any]) -> Manifest:
    """The document as a push reads it."""
    return parse_manifest(encode(document), None)


def entry(name: str, system: str | None = None, architecture: str | None = None) -> dict[str, Any]:
    """An entry of an index for a platform, or for none."""
    platform = {"os": system, "architecture": architecture}
    more = {"platform": {key: value for key, value in platform.items() if value is not None}} if system else {}
    return descriptor(name.encode(), OCI_MANIFEST, **more)


ENTRIES = [
    entry("amd64", "linux", "amd64"),
    entry("arm64", "linux", "arm64"),
    entry("windows", "windows", "amd64"),
    entry("attestation", "unknown", "unknown"),
    entry("half", "linux"),
    entry("none"),
]
NAMES = ["amd64", "arm64", "windows", "attestation", "half", "none"]


@pytest.mark.parametrize(
    ("validation", "needed"),
    [
        (Validation(), ["amd64", "arm64", "windows", "attestation", "half", "none"]),
        (Validation(platforms=frozenset()), []),
        (Validation(platforms=frozenset({LINUX_AMD64})), ["amd64"]),
        (Validation(platforms=frozenset({LINUX_AMD64, LINUX_ARM64})), ["amd64", "arm64"]),
        (Validation(sparse=True), []),
        (Validation(sparse=True, platforms=frozenset({LINUX_AMD64})), []),
    ],
    ids=["all", "none", "one platform", "two platforms", "sparse", "sparse and one platform"],
)
def test_which_entries_of_an_index_must_be_there(validation: Validation, needed: list[str]) -> None:
    """All, none, or those of listed platforms; every entry is told, so that the size of those that are there counts."""
    names = {parsed(index(found)).children[0].digest: name for found, name in zip(ENTRIES, NAMES, strict=True)}

    told = list(validation.children(parsed(index(*ENTRIES))))

    assert [names[found.digest] for found, _ in told] == NAMES
    assert [names[found.digest] for found, must in told if must] == needed


@pytest.mark.parametrize("sparse", [True, False])
def test_config_and_layers_must_be_there_but_in_a_sparse_registry(sparse: bool) -> None:  # noqa: FBT001
    """Each once; those that come from elsewhere not at all."""
    manifest = parsed(image(b"{}", b"layer", b"layer", b"{}"))

    told = list(Validation(sparse=sparse).blobs(manifest))

    assert [(found.size, must) for found, must in told] == [(2, not sparse), (5, not sparse)]


def test_content_that_comes_from_elsewhere_is_not_asked_for() -> None:
    """Its descriptor says so by its type."""
    foreign = descriptor(b"elsewhere", OCI_LAYER_NONDISTRIBUTABLE)
    manifest = parsed(image(b"{}", layers=[foreign]))

    assert [found.size for found, _ in Validation().blobs(manifest)] == [2]


def test_the_same_content_with_two_sizes_is_asked_for_twice() -> None:
    """One of them must be wrong."""
    one = descriptor(b"layer")
    manifest = parsed(image(b"{}", layers=[one, {**one, "size": 6}]))

    assert [found.size for found, _ in Validation().blobs(manifest)] == [2, 5, 6]


def test_an_entry_for_two_platforms_must_be_there_if_it_must_for_one() -> None:
    """The same image may stand in an index twice."""
    twice = index(entry("same", "linux", "arm64"), entry("same", "linux", "amd64"))

    told = Validation(platforms=frozenset({LINUX_AMD64})).children(parsed(twice))

    assert [must for _, must in told] == [False, True]


def linking(url: object, media_type: str = OCI_LAYER_NONDISTRIBUTABLE) -> Manifest:
    """An image whose second layer has this URL beside a good one."""
    urls = ["https://layers.example/good", url]
    return parsed(image(b"{}", layers=[descriptor(b"1"), descriptor(b"2", media_type, urls=urls)]))


@pytest.mark.parametrize("media_type", [OCI_LAYER, OCI_LAYER_NONDISTRIBUTABLE])
@pytest.mark.parametrize(
    "url",
    [
        "",
        "layers.example/1",
        "/etc/passwd",
        "file:///etc/passwd",
        "ftp://layers.example/1",
        "javascript:alert(1)",
        "https://",
        "https:///path",
        "http://[::1",
        "https://layers.example/1#fragment",
        "https://layers.example/a b",
        "https://layers.example/\n",
        "https://layers.example/é",
        "https://layers.example/" + "a" * 8000,
    ],
)
def test_only_http_urls_may_be_named(url: str, media_type: str) -> None:
    """Clients would fetch from them (CVE-2020-15157)."""
    with pytest.raises(ManifestInvalid, match="not an http or https URL"):
        Validation().check_urls(linking(url, media_type))


@pytest.mark.parametrize(
    "url", ["http://layers.example/1", "https://10.0.0.1:8443/a?b=c&d=%20", "HTTPS://Layers.Example"]
)
def test_any_http_url_may_be_named_by_default(url: str) -> None:
    """The registry itself never fetches it."""
    Validation().check_urls(linking(url))


def test_urls_must_match_one_pattern_that_allows() -> None:
    """Anywhere in the URL: who means its beginning writes ^."""
    validation = Validation(urls_allow=(re.compile(r"^https://layers\.example/"), re.compile("mirror")))

    validation.check_urls(linking("https://layers.example/1"))
    validation.check_urls(linking("http://mirror.example/1"))
    with pytest.raises(ManifestInvalid, match="does not allow the URL"):
        validation.check_urls(linking("https://evil.example/https://layers.example/"))


def test_urls_must_match_no_pattern_that_denies() -> None:
    """Also one that is allowed."""
    validation = Validation(urls_allow=(re.compile("layers"),), urls_deny=(re.compile("private"), re.compile("secret")))

    validation.check_urls(linking("https://layers.example/public"))
    for word in ("private", "secret"):
        with pytest.raises(ManifestInvalid, match="denies the URL"):
            validation.check_urls(linking(f"https://layers.example/{word}"))


def test_what_names_no_url_passes() -> None:
    """Whatever is allowed."""
    Validation(urls_allow=(re.compile("nothing"),)).check_urls(parsed(image(b"{}", b"layer")))
