"""What each client needs beyond the specification, as its source code has it; every test names the client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from moorage.auth.policy import Action
from moorage.v2.routes import UPLOAD
from tests.content import CONFIG, INDEX, MANIFEST, OCTETS, Client, descriptor, digest_of, encode, image, index, noise
from tests.protocol.transcript import USERS
from tests.raw_http import Line, ask_raw, chunked, head
from tests.servers import Moorage

LAYER = noise(100_000, seed=11)
DIGEST = digest_of(LAYER)
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"


@pytest.fixture
def base(alice: Client, name: str) -> str:
    """The test's repository, with an image tagged v1."""
    alice.push_image(name, "v1", LAYER)
    return name


# Docker Engine with its classic store (20.10 to 28).


def test_docker_finds_one_challenge_and_the_version_at_the_ping(alice: Client) -> None:
    """Docker asks `/v2/` first, takes its only challenge from there, and takes the version header for "this is v2"."""
    answer = Client(alice.server, more={"User-Agent": "docker/20.10.24 go/go1.19"}).ask("GET", "/v2/")

    assert answer.status == 401
    assert re.fullmatch(r'Basic realm="[^"]+"', answer.header("www-authenticate"))
    assert answer.header("docker-distribution-api-version") == "registry/2.0"
    assert answer.codes == ["UNAUTHORIZED"]


def test_docker_login_is_a_ping_with_the_password(alice: Client) -> None:
    """`docker login` shows "Login Succeeded" for 200 and the body's message for 401."""
    assert alice.ask("GET", "/v2/").status == 200

    refused = Client(alice.server, "alice", "wrong").ask("GET", "/v2/")

    assert (refused.status, refused.codes) == (401, ["UNAUTHORIZED"])


def test_docker_pushes_a_layer_as_a_stream_and_reads_its_size_from_range(alice: Client, name: str) -> None:
    """Docker scans `Range: 0-N` of the PATCH for the size, keeps Location's query, and HEADs the blob at once."""
    begun = alice.ask("POST", f"/v2/{name}/blobs/uploads/", {}, b"")
    headers = {**alice.headers, "Transfer-Encoding": "chunked"}
    with Line(alice.server) as line:
        line.send(head("PATCH", begun.header("location"), headers) + chunked(LAYER, 32_768))
        patched = line.answer("PATCH")
        line.send(
            head("PUT", f"{patched.header('location')}?digest={DIGEST}", {**alice.headers, "Content-Length": "0"})
        )
        put = line.answer("PUT")
    stat = alice.ask("HEAD", f"/v2/{name}/blobs/{DIGEST}")

    assert (patched.status, patched.header("range")) == (202, f"0-{len(LAYER) - 1}")
    assert patched.header("docker-upload-uuid") == begun.header("docker-upload-uuid")
    assert put.status == 201
    assert (stat.status, stat.header("content-length")) == (200, str(len(LAYER)))


def test_docker_mounts_from_several_repositories_in_turn(alice: Client, base: str) -> None:
    """Docker tries up to four sources; each 202 is a session that it cancels, and the 201 ends it."""
    statuses = []
    for source in ("library/alpine", "not/there", base):
        answer = alice.ask("POST", f"/v2/{base}-copy/blobs/uploads/?mount={DIGEST}&from={source}", {}, b"")
        statuses.append(answer.status)
        if answer.status == 202:
            assert alice.ask("DELETE", answer.header("location")).status == 204

    assert statuses == [202, 202, 201]


def test_docker_pulls_with_all_its_types_and_gets_what_is_stored(alice: Client, base: str) -> None:
    """Docker 25 and older also accept schema 1; a type without parameters picks the decoder."""
    accept = ", ".join([SCHEMA1, DOCKER_MANIFEST, DOCKER_LIST, INDEX, MANIFEST, "application/json"])

    answer = alice.ask("GET", f"/v2/{base}/manifests/v1", {"Accept": accept})

    assert answer.header("content-type") == MANIFEST


def test_docker_resumes_a_pull_where_it_broke(alice: Client, base: str) -> None:
    """Docker asks for `bytes=N-` and needs 206, numbers in Content-Range, and a last byte of total - 1."""
    answer = alice.ask("GET", f"/v2/{base}/blobs/{DIGEST}", {"Range": "bytes=60000-"})

    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.header("content-range"))
    assert answer.status == 206
    assert match is not None
    assert (int(match[1]), int(match[2]) + 1) == (60_000, int(match[3])) == (60_000, len(LAYER))


def test_docker_does_not_retry_what_will_never_work(alice: Client, name: str) -> None:
    """Docker repeats a push five times, but for UNAUTHORIZED, UNSUPPORTED, DENIED, TOOMANYREQUESTS, NAME_UNKNOWN."""
    method = alice.ask("PUT", f"/v2/{name}/blobs/{DIGEST}", {}, b"")
    repository = alice.ask("GET", f"/v2/{name}/tags/list")

    assert (method.codes, repository.codes) == (["UNSUPPORTED"], ["NAME_UNKNOWN"])


def test_docker_manifest_create_mounts_what_it_lists_and_puts_the_list(alice: Client, base: str) -> None:
    """`docker manifest push` mounts every blob, pushes each manifest by digest, then the list."""
    body = alice.ask("GET", f"/v2/{base}/manifests/v1").body
    many = f"{base}-many"
    for digest in (DIGEST, digest_of(b"{}")):
        assert alice.ask("POST", f"/v2/{many}/blobs/uploads/?mount={digest}&from={base}", {}, b"").status == 201
    assert alice.push_manifest(many, digest_of(body), body, MANIFEST).status == 201
    listed = {"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [descriptor(body, MANIFEST)]}

    assert alice.push_manifest(many, "v1", encode(listed), DOCKER_LIST).status == 201


def test_dockers_mirror_requests_carry_ns(alice: Client, base: str) -> None:
    """Docker 29 and containerd add `?ns=docker.io` to every request of a mirror."""
    assert alice.ask("GET", f"/v2/{base}/manifests/v1?ns=docker.io").status == 200
    assert alice.ask("HEAD", f"/v2/{base}/blobs/{DIGEST}?ns=docker.io").status == 200
    begun = alice.ask("POST", f"/v2/{base}/blobs/uploads/?ns=docker.io", {}, b"")
    assert begun.status == 202
    assert alice.ask("PUT", f"{begun.header('location')}?digest={DIGEST}&ns=docker.io", {}, LAYER).status == 201


# containers/image: podman, buildah, skopeo, CRI-O.


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A registry that everybody may pull from, with an image `lib/open:v1`."""
    folder = tmp_path_factory.mktemp("opened")
    with Moorage(folder, "--anonymous-pull", "--workers", "1", users=USERS) as server:
        client = Client(server, "alice", USERS["alice"])
        client.push_image("lib/open", "v1", LAYER)
        yield client


def test_podman_without_a_password_is_anonymous(opened: Client) -> None:
    """containers/image sends `Basic Og==`, an empty user with an empty password, where it has none."""
    podman = Client(opened.server, more={"Authorization": "Basic Og=="})

    assert podman.ask("GET", "/v2/lib/open/manifests/v1").status == 200
    assert podman.ask("GET", f"/v2/lib/open/blobs/{DIGEST}").body == LAYER
    assert podman.ask("POST", "/v2/lib/open/blobs/uploads/", {}, b"").status == 401


def test_podman_cancels_its_failed_mount_without_the_right_to_delete(alice: Client, base: str) -> None:
    """containers/image DELETEs the session of a mount that was answered 202; to a registry that is part of pushing."""
    with_mount = alice.ask("POST", f"/v2/{base}/blobs/uploads/?mount={digest_of(b'none')}&from={base}", {}, b"")

    assert with_mount.status == 202
    assert UPLOAD.actions["DELETE"] is Action.PUSH
    assert alice.ask("DELETE", with_mount.header("location")).status == 204


def test_podman_patches_with_a_length_and_without_a_range(alice: Client, name: str) -> None:
    """containers/image: POST, PATCH with Content-Length and no Content-Range, PUT, which must be 201 and not 204."""
    location = alice.begin_upload(name)
    patched = alice.ask("PATCH", location, {"Content-Type": OCTETS}, LAYER)
    put = alice.ask("PUT", f"{patched.header('location')}?digest={DIGEST}", {"Content-Type": OCTETS}, b"")

    assert (patched.status, put.status) == (202, 201)
    assert alice.ask("HEAD", f"/v2/{name}/blobs/{DIGEST}").header("content-length") == str(len(LAYER))


def test_podman_is_not_taken_for_openshift(alice: Client) -> None:
    """`X-Registry-Supports-Signatures` would make containers/image ask for signatures at an endpoint of OpenShift's."""
    headers = {"Docker-Distribution-API-Version": "registry/2.0"}

    assert alice.ask("GET", "/v2/", headers).values("x-registry-supports-signatures") == []


@pytest.mark.parametrize("accept", [f"{DOCKER_MANIFEST}, {MANIFEST}", DOCKER_MANIFEST, SCHEMA1])
def test_skopeo_gets_the_manifest_whatever_it_accepts(accept: str, alice: Client, base: str) -> None:
    """distribution answers 404 "OCI manifest found, but accept header does not support OCI manifests"."""
    answer = alice.ask("GET", f"/v2/{base}/manifests/v1", {"Accept": accept})

    assert (answer.status, answer.header("content-type")) == (200, MANIFEST)


def test_buildahs_manifest_without_a_media_type_keeps_the_one_it_was_pushed_with(alice: Client, base: str) -> None:
    """buildah and CRI-O push OCI manifests that say nothing of their type (cri-o #2905)."""
    document = image(b"{}", LAYER)
    del document["mediaType"]
    body = encode(document)

    assert alice.push_manifest(base, "untyped", body, MANIFEST).status == 201

    answer = alice.ask("GET", f"/v2/{base}/manifests/untyped")
    assert (answer.header("content-type"), answer.body) == (MANIFEST, body)


def test_podman_pulls_parts_of_a_zstd_chunked_layer(alice: Client, base: str) -> None:
    """zstd:chunked asks for many ranges at once, and reads a multipart whose boundary is letters, digits and colons."""
    ranges = [(start, start + 499) for start in range(0, 60_000, 1_000)]
    asked = ",".join(f"{first}-{last}" for first, last in ranges)

    answer = alice.ask("GET", f"/v2/{base}/blobs/{DIGEST}", {"Range": f"bytes={asked}"})

    assert answer.status == 206
    match = re.fullmatch(r"multipart/byteranges; boundary=([A-Za-z0-9:]+)", answer.header("content-type"))
    assert match is not None
    assert answer.body.count(b"--" + match[1].encode()) == len(ranges) + 1
    assert all(LAYER[first : last + 1] in answer.body for first, last in ranges)


def test_podman_falls_back_where_there_are_too_many_ranges(alice: Client, base: str) -> None:
    """200 with everything is what containers/image reads as "no partial pulls"; 416 or 5xx would be a failure."""
    asked = ",".join(f"{start}-{start + 1}" for start in range(0, 10_000, 10))

    answer = alice.ask("GET", f"/v2/{base}/blobs/{DIGEST}", {"Range": f"bytes={asked}"})

    assert (answer.status, answer.body) == (200, LAYER)


def test_skopeo_list_tags_gets_only_valid_tags(alice: Client, base: str) -> None:
    """One name outside the grammar in the list ends `skopeo list-tags` and `skopeo sync`."""
    grammar = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
    body = encode(index())
    for tag in ("..", "-a", "a b", "a/b", "é", "a" * 129):
        alice.ask("PUT", f"/v2/{base}/manifests/{tag}", {"Content-Type": INDEX}, body)

    assert all(grammar.fullmatch(tag) for tag in alice.ask("GET", f"/v2/{base}/tags/list").json()["tags"])


def test_skopeo_delete_finds_the_digest_and_deletes_it(alice: Client, base: str) -> None:
    """`skopeo delete` HEADs the tag for Docker-Content-Digest and DELETEs by that; every tag of it is gone."""
    digest = alice.ask("HEAD", f"/v2/{base}/manifests/v1").header("docker-content-digest")

    assert alice.ask("DELETE", f"/v2/{base}/manifests/{digest}").status == 202
    assert alice.ask("HEAD", f"/v2/{base}/manifests/v1").status == 404


def test_podman_search_reads_the_catalog_when_there_is_no_v1_search(alice: Client, base: str) -> None:
    """containers/image asks `/v1/search` first and then `/v2/_catalog?n=`."""
    assert alice.ask("GET", f"/v1/search?q={base}").status == 404
    assert base in alice.ask("GET", "/v2/_catalog?n=1000").json()["repositories"]


# containerd: nerdctl, Kubernetes, Docker 29.


def test_containerd_resolves_a_tag_by_head_with_any_type(alice: Client, base: str) -> None:
    """containerd never pings: it HEADs the tag with `*/*` at the end of Accept, and trusts length, type and digest."""
    accept = f"{DOCKER_MANIFEST}, {DOCKER_LIST}, {MANIFEST}, {INDEX}, */*"

    stranger = Client(alice.server).ask("HEAD", f"/v2/{base}/manifests/v1", {"Accept": accept})
    answer = alice.ask("HEAD", f"/v2/{base}/manifests/v1", {"Accept": accept})

    assert (stranger.status, len(stranger.values("www-authenticate"))) == (401, 1)
    assert answer.header("content-type") == MANIFEST
    assert int(answer.header("content-length")) == len(encode(image(b"{}", LAYER)))
    assert answer.header("docker-content-digest") == digest_of(encode(image(b"{}", LAYER)))


def test_containerd_looks_for_a_blob_among_manifests_first(alice: Client, base: str) -> None:
    """404 by `manifests/` makes it try `blobs/` with the same digest; anything else would end the pull."""
    as_manifest = alice.ask("HEAD", f"/v2/{base}/manifests/{DIGEST}", {"Accept": f"{MANIFEST}, */*"})
    as_blob = alice.ask("HEAD", f"/v2/{base}/blobs/{DIGEST}", {"Accept": f"{MANIFEST}, */*"})

    assert (as_manifest.status, as_blob.status) == (404, 200)


def test_containerd_fetches_a_layer_on_several_connections(alice: Client, base: str) -> None:
    """It asks for `bytes=N-` on each, wants 206 for `bytes=0-` too, takes its piece and hangs up."""
    size = 25_000
    pieces = []
    for start in range(0, len(LAYER), size):
        with Line(alice.server) as line:
            headers = {**alice.headers, "Range": f"bytes={start}-"}
            line.send(head("GET", f"/v2/{base}/blobs/{DIGEST}", headers))
            assert b" 206 " in line.take(13)
            while b"\r\n\r\n" not in line.received:
                line.received += line.take(len(line.received) + 1)
            del line.received[: line.received.index(b"\r\n\r\n") + 4]
            pieces.append(line.take(size))
            line.reset()

    assert b"".join(pieces) == LAYER
    assert alice.ask("GET", f"/v2/{base}/blobs/{DIGEST}").body == LAYER


def test_containerd_never_gets_a_content_encoding(alice: Client, base: str) -> None:
    """It offers zstd and gzip, and would decode; then the digest would not be that of what it asked for."""
    headers = {"Accept-Encoding": "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5"}
    for target in (f"blobs/{DIGEST}", "manifests/v1"):
        assert alice.ask("GET", f"/v2/{base}/{target}", headers).values("content-encoding") == []


def test_containerd_pushes_a_layer_in_one_put(alice: Client, name: str) -> None:
    """POST, then PUT with everything, and without a Content-Length where there is nothing; it compares the digest."""
    location = alice.begin_upload(name)
    put = alice.ask("PUT", f"{location}?digest={DIGEST}", {"Content-Type": OCTETS}, LAYER)
    empty = alice.begin_upload(name)
    put_empty = alice.ask("PUT", f"{empty}?digest={digest_of(b'')}", {"Content-Type": OCTETS})

    assert (put.status, put.header("docker-content-digest")) == (201, DIGEST)
    assert (put_empty.status, put_empty.header("docker-content-digest")) == (201, digest_of(b""))


def test_kubelets_of_a_cluster_head_a_tag_all_at_once(alice: Client, base: str) -> None:
    """`imagePullPolicy: Always` after a power cut: everyone gets the same answer."""
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: alice.ask("HEAD", f"/v2/{base}/manifests/v1"), range(200)))

    assert {answer.status for answer in answers} == {200}
    assert len({answer.header("docker-content-digest") for answer in answers}) == 1


# BuildKit and buildx.


def cache_index(*layers: bytes, config: bytes) -> dict[str, Any]:
    """What `--cache-to type=registry,image-manifest=false` pushes: layers and a config as entries of an index."""
    entries = [descriptor(layer, ZSTD, annotations={"buildkit/createdat": "2026"}) for layer in layers]
    return index(*entries, descriptor(config, CACHE_CONFIG))


def test_buildkits_cache_index_has_blobs_as_children(alice: Client, name: str) -> None:
    """BuildKit before 0.21 lists layers where manifests are expected: they have to be there, as blobs."""
    config = b'{"layers":[],"records":[]}'
    early = alice.push_manifest(name, "cache", encode(cache_index(LAYER, config=config)), INDEX)
    for data in (LAYER, config):
        alice.push_blob(name, data)
    later = alice.push_manifest(name, "cache", encode(cache_index(LAYER, config=config)), INDEX)

    assert (early.status, early.codes) == (400, ["MANIFEST_BLOB_UNKNOWN"])
    assert later.status == 201


def test_buildkits_attestation_comes_before_its_subject(alice: Client, base: str) -> None:
    """BuildKit 0.32 pushes attestations with a `subject` that follows (buildkit #7007)."""
    subject = encode(image(b"{}", LAYER, annotations={"is": "pushed later"}))
    attestation = encode(image(b"{}", LAYER, subject=descriptor(subject, MANIFEST), artifactType="application/json"))

    first = alice.push_manifest(base, digest_of(attestation), attestation)
    then = alice.push_manifest(base, digest_of(subject), subject)
    both = index(
        descriptor(subject, MANIFEST, platform={"os": "linux", "architecture": "amd64"}),
        descriptor(
            attestation,
            MANIFEST,
            platform={"os": "unknown", "architecture": "unknown"},
            annotations={"vnd.docker.reference.type": "attestation-manifest"},
        ),
    )
    last = alice.push_manifest(base, "latest", encode(both), INDEX)

    assert (first.status, then.status, last.status) == (201, 201, 201)


def test_buildkit_sends_nothing_before_it_is_told_to(alice: Client, name: str) -> None:
    """It sends Expect: 100-continue and waits five seconds; a refusal comes instead of the 100."""
    headers = {"Expect": "100-continue", "Content-Length": str(len(LAYER))}
    location = alice.begin_upload(name)
    with Line(alice.server) as line:
        line.send(head("PUT", f"{location}?digest={DIGEST}", {**headers, **Client(alice.server).headers}))
        refused = line.answer("PUT")
    with Line(alice.server) as line:
        line.send(head("PUT", f"{location}?digest={DIGEST}", {**headers, **alice.headers}))
        interim = line.answer("PUT")
        line.send(LAYER)
        done = line.answer("PUT")

    assert (refused.status, interim.status, done.status) == (401, 100, 201)


def test_buildkit_pushes_the_same_layer_twice_at_once(alice: Client, name: str) -> None:
    """Both get 201."""
    with ThreadPoolExecutor(8) as threads:
        answers = list(
            threads.map(lambda _: alice.ask("POST", f"/v2/{name}/blobs/uploads/?digest={DIGEST}", {}, LAYER), range(16))
        )

    assert {answer.status for answer in answers} == {201}


# go-containerregistry: crane, ko, kaniko, cosign, flux.


def test_crane_begins_an_upload_with_a_json_content_type(alice: Client, name: str) -> None:
    """go-containerregistry POSTs an empty body as application/json, and accepts 201 alone for the PUT."""
    headers = {"Content-Type": "application/json"}
    begun = alice.ask("POST", f"/v2/{name}/blobs/uploads/", headers, b"")
    patched = alice.ask("PATCH", begun.header("location"), {}, LAYER)
    put = alice.ask("PUT", f"{patched.header('location')}?digest={DIGEST}", {}, b"")

    assert (begun.status, patched.status, put.status) == (202, 202, 201)


def test_crane_says_where_a_mount_comes_from(alice: Client, base: str) -> None:
    """go-containerregistry adds `origin=` to a mount; it is not looked at."""
    query = f"mount={DIGEST}&from={base}&origin=index.docker.io"

    assert alice.ask("POST", f"/v2/{base}-copy/blobs/uploads/?{query}", {}, b"").status == 201


def test_kaniko_checks_that_it_may_push(alice: Client, name: str) -> None:
    """CheckPushPermission begins an upload and cancels it, before the build; nothing stays of it."""
    begun = alice.ask("POST", f"/v2/{name}/blobs/uploads/", {"Content-Type": "application/json"}, b"")

    assert alice.ask("DELETE", begun.header("location")).status == 204
    assert alice.ask("GET", f"/v2/{name}/tags/list").status == 404


def test_crane_does_not_retry_what_is_wrong_for_good(alice: Client, name: str) -> None:
    """go-containerregistry repeats BLOB_UPLOAD_INVALID, TOOMANYREQUESTS, UNKNOWN, UNAVAILABLE, 408, 429 and 5xx."""
    temporary = {"BLOB_UPLOAD_INVALID", "TOOMANYREQUESTS", "UNKNOWN", "UNAVAILABLE"}
    answers = [
        alice.ask("POST", f"/v2/{name}/blobs/uploads/?digest={DIGEST}", {}, b"other"),
        alice.ask("PATCH", f"/v2/{name}/blobs/uploads/{'0' * 32}", {}, LAYER),
        alice.push_manifest(name, "v1", b"{}"),
        alice.push_manifest(name, "v1", encode(image(b"{}", LAYER))),
        alice.ask("GET", f"/v2/{name}/manifests/v1"),
    ]

    assert all(400 <= answer.status < 429 and answer.status != 408 for answer in answers)
    assert not temporary & {code for answer in answers for code in answer.codes}


def test_crane_reads_referrers_by_their_exact_content_type(alice: Client, base: str) -> None:
    """go-containerregistry falls back to tags for any other type, a charset included, and follows no Link."""
    subject = alice.ask("GET", f"/v2/{base}/manifests/v1").body
    for number in range(120):
        body = encode(image(b"{}", subject=descriptor(subject, MANIFEST), annotations={"n": str(number)}))
        assert alice.push_manifest(base, digest_of(body), body).status == 201

    answer = alice.ask("GET", f"/v2/{base}/referrers/{digest_of(subject)}")

    assert answer.header("content-type") == INDEX
    assert len(answer.json()["manifests"]) == 120
    assert answer.values("link") == []


def test_crane_catalog_follows_relative_links(alice: Client, base: str) -> None:
    """`crane catalog` and `crane ls` resolve a Link against the page it came with."""
    seen, path = [], "/v2/_catalog?n=7"
    while path:
        answer = alice.ask("GET", path)
        seen += answer.json()["repositories"]
        path = answer.header("link").partition(">")[0].removeprefix("<") if answer.values("link") else ""

    assert base in seen
    assert seen == sorted(set(seen))


def test_cosigns_tags_are_tags(alice: Client, base: str) -> None:
    """cosign keeps signatures under `sha256-<hex>.sig`, which looks like a digest and is none."""
    digest = alice.ask("HEAD", f"/v2/{base}/manifests/v1").header("docker-content-digest")
    tag = digest.replace(":", "-") + ".sig"
    body = encode(image(b"{}", annotations={"is": "a signature"}))

    assert alice.push_manifest(base, tag, body).status == 201

    assert alice.ask("GET", f"/v2/{base}/manifests/{tag}").body == body
    assert tag in alice.ask("GET", f"/v2/{base}/tags/list").json()["tags"]


# oras, helm, notation, regclient.


def test_oras_reuses_the_host_of_its_upload(alice: Client, name: str) -> None:
    """oras-go refuses a Location of another host or scheme; a path has neither."""
    location = alice.begin_upload(name)

    assert location.startswith("/")
    assert "://" not in location


def test_oras_asks_for_ranges_only_where_they_are_announced(alice: Client, base: str) -> None:
    """oras-go seeks in a blob if HEAD or GET said `Accept-Ranges: bytes`."""
    for method in ("GET", "HEAD"):
        assert alice.ask(method, f"/v2/{base}/blobs/{DIGEST}").header("accept-ranges") == "bytes"


def test_oras_attach_maintains_no_referrers_tag(alice: Client, base: str) -> None:
    """oras and notation write the fallback tag unless a push of a subject is answered with OCI-Subject."""
    subject = alice.ask("GET", f"/v2/{base}/manifests/v1").body
    artifact = encode(image(b"{}", subject=descriptor(subject, MANIFEST), artifactType="text/x-sbom"))

    answer = alice.push_manifest(base, digest_of(artifact), artifact)

    assert answer.header("oci-subject") == digest_of(subject)


def test_helms_tag_of_a_version_with_a_plus(alice: Client, base: str) -> None:
    """helm writes 1.0.0+build as 1.0.0_build, and finds versions in the tag list, by Link if need be."""
    config = "application/vnd.cncf.helm.config.v1+json"
    chart = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
    body = encode({**image(b"{}"), "config": descriptor(b"{}", config), "layers": [descriptor(LAYER, chart)]})

    assert alice.push_manifest(base, "1.0.0_build", body).status == 201
    assert alice.push_manifest(base, "1.0.0+build", body).codes == ["TAG_INVALID"]
    assert "1.0.0_build" in alice.ask("GET", f"/v2/{base}/tags/list").json()["tags"]


def test_regclient_goes_on_where_a_416_says(alice: Client, name: str) -> None:
    """regclient sends chunks with Content-Range, and after a refusal that has Location and Range resumes from there."""
    location = alice.begin_upload(name)
    alice.ask("PATCH", location, {"Content-Range": "0-49999"}, LAYER[:50_000])

    refused = alice.ask("PATCH", location, {"Content-Range": "60000-99999"}, LAYER[60_000:])
    start = int(refused.header("range").partition("-")[2]) + 1
    rest = {"Content-Range": f"{start}-99999"}
    resumed = alice.ask("PATCH", refused.header("location"), rest, LAYER[start:])
    done = alice.ask("PUT", f"{resumed.header('location')}?digest={DIGEST}", {}, b"")

    assert (refused.status, start, resumed.status, done.status) == (416, 50_000, 202, 201)


def test_regclient_asks_how_far_an_upload_is(alice: Client, name: str) -> None:
    """GET of the session: 204 with Location and Range."""
    location = alice.begin_upload(name)
    alice.ask("PATCH", location, {}, LAYER[:10])

    answer = alice.ask("GET", location)

    assert (answer.status, answer.header("location"), answer.header("range")) == (204, location, "0-9")


# Those that watch and scan.


def test_watchtower_compares_the_digest_of_a_head(alice: Client, base: str) -> None:
    """Watchtower, Diun and Keel poll by HEAD, and take a changed Docker-Content-Digest for a new image."""
    accept = {"Accept": f"{DOCKER_LIST}, {DOCKER_MANIFEST}, {INDEX}"}
    before = alice.ask("HEAD", f"/v2/{base}/manifests/v1", accept)
    same = alice.ask("HEAD", f"/v2/{base}/manifests/v1", accept)
    new = alice.push_image(base, "v1", b"another layer")
    after = alice.ask("HEAD", f"/v2/{base}/manifests/v1", accept)

    digests = [answer.header("docker-content-digest") for answer in (before, same, after)]
    assert digests[0] == digests[1] != digests[2] == new


def test_renovate_follows_the_link_of_a_tag_list(alice: Client, base: str) -> None:
    """Renovate asks with a large `n` and goes on while there is a Link; without one it stops."""
    answer = alice.ask("GET", f"/v2/{base}/tags/list?n=10000")

    assert answer.json()["tags"] == ["v1"]
    assert answer.values("link") == []


def test_curl_pushes_with_a_forms_content_type(alice: Client, name: str) -> None:
    """`curl --data-binary @layer -X PATCH` says application/x-www-form-urlencoded."""
    location = alice.begin_upload(name)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "curl/8", "Accept": "*/*"}

    assert alice.ask("PATCH", location, headers, LAYER).status == 202
    assert alice.ask("PUT", f"{location}?digest={DIGEST}", headers, b"").status == 201


def test_nginx_in_front_may_speak_http_1_0(alice: Client, base: str) -> None:
    """Without `proxy_http_version 1.1` nginx sends HTTP/1.0 with `Connection: close`."""
    raw = head("GET", f"/v2/{base}/blobs/{DIGEST}", {**alice.headers, "Host": "r", "Connection": "close"}, "HTTP/1.0")

    answer = ask_raw(alice.server, raw)

    assert (answer.status, answer.body) == (200, LAYER)
    assert answer.values("transfer-encoding") == []


def test_an_image_config_with_a_forgotten_type(alice: Client, name: str) -> None:
    """ko, kaniko and others write schema 2 manifests over OCI layers; types may be mixed."""
    for data in (b"{}", LAYER):
        alice.push_blob(name, data)
    mixed = {**image(b"{}", LAYER), "mediaType": DOCKER_MANIFEST, "config": descriptor(b"{}", CONFIG)}

    assert alice.push_manifest(name, "v1", encode(mixed), DOCKER_MANIFEST).status == 201
