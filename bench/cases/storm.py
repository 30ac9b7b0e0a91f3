"""Many clients at once who pull what is popular while others push; and what a registry holds on to afterwards."""

from __future__ import annotations

import math
import os
import random
from dataclasses import dataclass
from functools import cache

from bench.cases.seed import push_image
from bench.content import MANIFEST, Image, digest_of, make_blob, make_image
from bench.drivers import Load, Unexpected, request, target_of
from bench.lookups import look
from bench.measure import USUAL, Case, Row, Sample, Samples, Scale, measured
from bench.registries import Registry
from bench.scripts import Script, run_scripts
from bench.tree import TICKS_PER_SECOND, cpu_ticks, pss_bytes, settle

IMAGES = 100
_REPOSITORY = "bench/storm"
_STORM, _GROWTH, _DEARER = "images pulled in a storm", "memory kept after many requests", "requests get dearer"
# Layers as they are in small services' images, cut off so that one client keeps up with their bytes (arbitrary).
_MEDIAN_BYTES, _SIGMA, _MOST_BYTES = 32 << 10, 1.2, 1 << 20


def zipf(count: int, choices: int, seed: str) -> list[int]:
    """*count* numbers below *choices*; number n comes up in proportion to 1 / (n + 1), in the order of *seed*."""
    weights = [1 / (number + 1) for number in range(choices)]
    return random.Random(seed).choices(range(choices), weights, k=count)


@cache
def popular_image(number: int) -> Image:
    """A configuration and three layers, with sizes by the log-normal distribution that layers have."""
    sizes = random.Random(f"storm {number}")
    layers = []
    for place in range(3):
        size = min(_MOST_BYTES, int(sizes.lognormvariate(math.log(_MEDIAN_BYTES), _SIGMA)) + 1)
        layers.append(make_blob(size, f"storm {number} {place}"))
    return make_image(make_blob(2048, f"storm {number}"), tuple(layers))


def _prepare(registry: Registry, scale: Scale) -> None:
    """The images that are pulled."""
    images = [popular_image(number) for number in range(IMAGES)]

    def client(first: int) -> Script:
        for number in range(first, IMAGES, 8):
            yield from push_image(registry, _REPOSITORY, images[number], f"image-{number}")

    run_scripts(registry, [client(first) for first in range(8)])


def pull(registry: Registry, repository: str, image: Image, tag: str) -> Script:
    """What a client does who has nothing of an image: the manifest by tag, then every blob."""
    answer = yield request(registry, "GET", f"/v2/{repository}/manifests/{tag}")
    answer.expect(200, size=len(image.manifest.data))
    for blob in image.blobs:
        answer = yield request(registry, "GET", f"/v2/{repository}/blobs/{blob.digest}")
        answer.expect(200, size=len(blob.data))


def _storm(registry: Registry, number: int, scale: Scale) -> Samples:
    """Images pulled whole by many clients in Zipf order, nine of ten times; the tenth time a tag is pushed.

    All registries get the same requests. The processor time of the pushes counts too, the value only pulled images.
    """
    each = max(10, int(6 * scale.seconds))
    pulled, wrong = 0, 0

    def client(place: int) -> Script:
        nonlocal pulled, wrong
        for turn, chosen in enumerate(zipf(each, IMAGES, f"{number} {place}")):
            try:
                if (turn + place) % 10 == 9:
                    yield from _retag(registry, popular_image(chosen), f"pushed-{number}-{place}-{turn}")
                else:
                    yield from pull(registry, _REPOSITORY, popular_image(chosen), f"image-{chosen}")
                    pulled += 1
            except Unexpected:
                wrong += 1

    def work() -> Load:
        seconds = run_scripts(registry, [client(place) for place in range(scale.clients)])
        return Load(pulled, wrong, seconds)

    os.sync()
    load, usage = measured(registry, work, behind=True)
    if not pulled:
        raise Unexpected(f"no image could be pulled, {wrong} times")
    return {_STORM: Sample(load.requests / load.seconds, usage.cpu_seconds * 1e3 / load.requests, wrong, usage)}


def _retag(registry: Registry, image: Image, tag: str) -> Script:
    path = f"/v2/{_REPOSITORY}/manifests/{tag}"
    answer = yield request(registry, "PUT", path, image.manifest.data, Content_Type=MANIFEST)
    answer.expect(201)


# 7 requests push an image of a configuration and a layer, 5 x 3 pull it, and 8 come in around it.
_TURN = 30


@dataclass
class _Quarter:
    """What a part of the requests left behind: bytes of memory, and CPU seconds that it took."""

    memory: int
    cpu_seconds: float


def _growth(registry: Registry, number: int, scale: Scale) -> Samples:
    """Requests of all kinds, a fixed number of them: memory and CPU of the last quarter against the second.

    The first quarter fills caches. 36,000 requests are an hour's worth at ten a second.
    """
    quarters = [_quarter(registry, place, scale.requests // 4) for place in range(4)]
    look(registry, "/v2/").expect(200)
    _, second, _, last = quarters
    return {
        _GROWTH: Sample((last.memory - second.memory) / 2**20),
        _DEARER: Sample(last.cpu_seconds / max(second.cpu_seconds, 1 / TICKS_PER_SECOND)),
    }


def _quarter(registry: Registry, number: int, requests: int) -> _Quarter:
    settle(registry.pid)
    ticks = cpu_ticks(registry.pid)
    clients = 8
    run_scripts(registry, [_everything(registry, f"{number}-{place}", requests // clients) for place in range(clients)])
    settle(registry.pid)
    return _Quarter(pss_bytes(registry.pid), (cpu_ticks(registry.pid) - ticks) / TICKS_PER_SECOND)


def _everything(registry: Registry, client: str, requests: int) -> Script:
    """About so many requests: images pushed and each pulled five times, and what else comes in around them."""
    repository = f"bench/growth-{client[-1]}"
    for turn in range(max(1, requests // _TURN)):
        image, tag = _new_image(client, turn), f"{client}-{turn}"
        yield from push_image(registry, repository, image, tag)
        for _ in range(5):
            yield from pull(registry, repository, image, tag)
        yield from _around(registry, repository, image, tag)


def _new_image(client: str, turn: int) -> Image:
    return make_image(make_blob(1024, f"growth {client} {turn}"), (make_blob(8192, f"growth {client} {turn} layer"),))


def _around(registry: Registry, repository: str, image: Image, tag: str) -> Script:
    """What else comes in: looks, misses, an upload that nobody finishes, and the tag's manifest deleted at the end."""
    manifests, blobs = f"/v2/{repository}/manifests", f"/v2/{repository}/blobs"
    for path in (f"{manifests}/{tag}", f"{blobs}/{image.blobs[1].digest}"):
        (yield request(registry, "HEAD", path)).expect(200)
    (yield request(registry, "GET", "/v2/")).expect(200)
    (yield request(registry, "GET", f"{manifests}/nothing")).expect(404)
    (yield request(registry, "GET", f"{blobs}/{digest_of(tag.encode())}")).expect(404)
    answer = (yield request(registry, "POST", f"{blobs}/uploads/")).expect(202)
    target = target_of(answer.headers["location"])
    (yield request(registry, "PATCH", target, b"given up", Content_Type="application/octet-stream")).expect(202)
    (yield request(registry, "DELETE", f"{manifests}/{image.manifest.digest}")).expect(202)


CASES = (
    Case(_STORM, (Row(_STORM, "images/s", "more", "ms", None, 5, None, 2),), _storm, _prepare, rounds=3),
    Case(
        "growth",
        (Row(_GROWTH, "MiB", "less"), Row(_DEARER, "times", "less")),
        _growth,
        rounds=1,
        weight=2,
        level=USUAL,
    ),
)
