"""Who refers to a manifest: signatures, attestations, bills of material."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest

from tests.content import CONFIG, INDEX, MANIFEST, Client, descriptor, digest_of, encode, image, index
from tests.raw_http import Answer

SUBJECT = encode(image(b"{}", annotations={"is": "the subject"}))
OF_SUBJECT = descriptor(SUBJECT, MANIFEST)
SBOM = "application/spdx+json"
SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"
MEBIBYTE = 1024 * 1024


@pytest.fixture
def base(alice: Client, name: str) -> str:
    """The test's repository, with the config that its images name."""
    alice.push_blob(name, b"{}")
    return name


def referrer(number: int = 0, **more: Any) -> dict[str, Any]:
    """An image that refers to the subject; another one for each *number*."""
    return {**image(b"{}"), "subject": OF_SUBJECT, "annotations": {"number": str(number)}, **more}


def push(client: Client, repository: str, document: dict[str, Any]) -> str:
    """Push by digest; the digest."""
    body = encode(document)
    answer = client.push_manifest(repository, digest_of(body), body, document["mediaType"])
    assert answer.status == 201, answer
    return digest_of(body)


def ask(client: Client, repository: str, query: str = "", subject: str = digest_of(SUBJECT)) -> Answer:
    """The referrers, checked to be an image index exactly as clients compare it."""
    answer = client.ask("GET", f"/v2/{repository}/referrers/{subject}{query}")
    assert answer.status == 200, answer
    assert answer.header("content-type") == INDEX
    assert (answer.json()["schemaVersion"], answer.json()["mediaType"]) == (2, INDEX)
    return answer


def listed(client: Client, repository: str, query: str = "", subject: str = digest_of(SUBJECT)) -> list[str]:
    """The digests that are listed."""
    return [entry["digest"] for entry in ask(client, repository, query, subject).json()["manifests"]]


def follow(client: Client, repository: str, query: str = "") -> list[Answer]:
    """Every page, by its Link."""
    answers = [ask(client, repository, query)]
    while answers[-1].values("link"):
        match = re.fullmatch(r'<(/v2/[!-~]+)>; rel="next"', answers[-1].header("link"))
        assert match is not None, answers[-1]
        answers.append(client.ask("GET", match[1]))
        assert answers[-1].status == 200
    return answers


def test_a_subject_that_was_never_pushed_is_accepted(base: str, alice: Client) -> None:
    """201 with OCI-Subject, and it is listed."""
    body = encode(referrer())

    answer = alice.push_manifest(base, "signature", body)

    assert (answer.status, answer.header("oci-subject")) == (201, digest_of(SUBJECT))
    assert listed(alice, base) == [digest_of(body)]


def test_nothing_changes_when_the_subject_arrives(base: str, alice: Client) -> None:
    """Nor when it goes again: deleting a subject is not blocked by what refers to it."""
    digest = push(alice, base, referrer())

    assert alice.push_manifest(base, "subject", SUBJECT).status == 201
    with_subject = listed(alice, base)
    assert alice.ask("DELETE", f"/v2/{base}/manifests/{digest_of(SUBJECT)}").status == 202

    assert with_subject == listed(alice, base) == [digest]


def test_a_deleted_referrer_leaves_the_list_at_once(base: str, alice: Client) -> None:
    """Whichever worker is asked."""
    kept, gone = push(alice, base, referrer(1)), push(alice, base, referrer(2))

    assert alice.ask("DELETE", f"/v2/{base}/manifests/{gone}").status == 202

    assert [listed(alice, base) for _ in range(4)] == [[kept]] * 4


def test_a_referrer_that_loses_its_tag_stays(base: str, alice: Client) -> None:
    """Most have none."""
    body = encode(referrer())
    alice.push_manifest(base, "signature", body)

    assert alice.ask("DELETE", f"/v2/{base}/manifests/signature").status == 202

    assert listed(alice, base) == [digest_of(body)]


ARTIFACTS = [
    ("an image's own", referrer(artifactType=SBOM), SBOM),
    ("else its config's type", referrer(), CONFIG),
    (
        "also that of the empty config",
        referrer(config=descriptor(b"{}", EMPTY_CONFIG), artifactType=SIGNATURE),
        SIGNATURE,
    ),
    ("an index's own", index(subject=OF_SUBJECT, artifactType=SBOM), SBOM),
    ("an index has none else", index(subject=OF_SUBJECT), None),
]


@pytest.mark.parametrize(("says", "document", "artifact_type"), ARTIFACTS, ids=[row[0] for row in ARTIFACTS])
def test_the_artifact_type_of_an_entry(
    says: str, document: dict[str, Any], artifact_type: str | None, base: str, alice: Client
) -> None:
    """distribution-spec, "Listing Referrers"."""
    push(alice, base, document)

    (entry,) = ask(alice, base).json()["manifests"]

    assert entry.get("artifactType") == artifact_type


def test_an_entry_is_the_descriptor_with_its_annotations(base: str, alice: Client) -> None:
    """Digest, size, media type and every annotation, as they were pushed."""
    document = referrer(annotations={"org.example": "ü\n", "": "empty key"}, artifactType=SBOM)

    push(alice, base, document)

    assert ask(alice, base).json()["manifests"] == [
        descriptor(encode(document), MANIFEST, artifactType=SBOM, annotations={"org.example": "ü\n", "": "empty key"})
    ]


@pytest.mark.parametrize("query", ["application%2Fspdx%2Bjson", "application/spdx%2Bjson", "application/spdx+json"])
def test_the_filter_lists_one_type_only(query: str, base: str, alice: Client) -> None:
    """Also where a client does not escape the plus sign; OCI-Filters-Applied tells that it was done."""
    wanted = push(alice, base, referrer(1, artifactType=SBOM))
    push(alice, base, referrer(2, artifactType=SIGNATURE))

    answer = ask(alice, base, f"?artifactType={query}")

    assert answer.header("oci-filters-applied") == "artifactType"
    assert [entry["digest"] for entry in answer.json()["manifests"]] == [wanted]


def test_a_type_with_parameters_can_be_filtered_for(base: str, alice: Client) -> None:
    """Clients copy types from tables of file names."""
    wanted = push(alice, base, referrer(artifactType="text/plain; charset=utf-8"))

    assert listed(alice, base, f"?artifactType={quote('text/plain; charset=utf-8')}") == [wanted]
    assert listed(alice, base, "?artifactType=text%2Fplain%3B+charset%3Dutf-8") == [wanted]


def test_an_empty_filter_is_none(base: str, alice: Client) -> None:
    """Everything is listed, and no filter is said to be applied."""
    digest = push(alice, base, referrer())

    answer = ask(alice, base, "?artifactType=")

    assert answer.values("oci-filters-applied") == []
    assert [entry["digest"] for entry in answer.json()["manifests"]] == [digest]


def test_another_repository_has_referrers_of_its_own(base: str, alice: Client) -> None:
    """The same digest in two repositories is referred to in each by what each has."""
    push(alice, base, referrer())
    alice.push_blob(f"{base}-other", b"{}")

    assert listed(alice, f"{base}-other") == []


def test_subjects_by_sha512_have_referrers_too(base: str, alice: Client) -> None:
    """The digest of the descriptor is what is looked up."""
    subject = {**OF_SUBJECT, "digest": digest_of(SUBJECT, "sha512")}
    digest = push(alice, base, referrer(subject=subject))

    assert listed(alice, base, subject=digest_of(SUBJECT, "sha512")) == [digest]
    assert listed(alice, base) == []


def test_a_page_stays_below_4_mib(base: str, alice: Client) -> None:
    """oras reads no more of a list; the rest comes by Link, relative, with the filter kept, and nothing is lost."""
    large = ["x" * 2 * MEBIBYTE, "y" * 2 * MEBIBYTE]
    annotations = [*({"text": text} for text in large), *({"number": str(number)} for number in range(40))]
    pushed = [push(alice, base, referrer(artifactType=SBOM, annotations=given)) for given in annotations]
    push(alice, base, referrer(0, artifactType=SIGNATURE))

    pages = follow(alice, base, f"?artifactType={SBOM}")

    assert len(pages) > 1
    assert all(len(page.body) < 4 * MEBIBYTE for page in pages)
    assert all(page.header("oci-filters-applied") == "artifactType" for page in pages)
    assert all("artifactType=application%2Fspdx%2Bjson" in page.header("link") for page in pages[:-1])
    found = [entry["digest"] for page in pages for entry in page.json()["manifests"]]
    assert sorted(found) == sorted(pushed)


def test_a_next_page_begins_where_the_link_says_even_if_that_entry_is_gone(base: str, alice: Client) -> None:
    """Somebody deletes while somebody else reads on."""
    digests = sorted(push(alice, base, referrer(number)) for number in range(3))
    alice.ask("DELETE", f"/v2/{base}/manifests/{digests[1]}")

    assert listed(alice, base, f"?last={digests[1]}") == digests[2:]


def test_a_link_that_was_made_up_is_refused(base: str, alice: Client) -> None:
    """Clients take Links as they come, so only a mistake makes another."""
    answer = alice.ask("GET", f"/v2/{base}/referrers/{digest_of(SUBJECT)}?last=v1")

    assert (answer.status, answer.codes) == (400, ["DIGEST_INVALID"])
