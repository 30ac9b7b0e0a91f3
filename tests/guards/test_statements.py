from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from moorage.settings.model import Settings
from tests.content import MANIFEST, OCTETS, descriptor, digest_of, encode, image, noise
from tests.guards.composed import PASSWORD, USER, Registry, made_ready, settings_for
from tests.guards.sql_log import Spent, SqlLog
from tests.guards.table import Table
from tests.raw_http import Answer, basic, message

ALICE = {"Authorization": basic(USER, PASSWORD)}
CONFIG = b"{}"
LAYER = noise(300, seed=1)
FEW, MANY = 2, 40


class Script:
    """Requests to one registry, each with the SQL that it took."""

    def __init__(self, registry: Registry, log: SqlLog) -> None:
        self._registry = registry
        self._log = log
        self.spent: dict[str, Spent] = {}

    async def do(
        self, method: str, target: str, status: int, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """A request that is not counted; alice sends it unless *headers* are given."""
        answer = await self._registry.ask(message(method, target, ALICE if headers is None else headers, body))
        assert answer.status == status, (method, target, answer)
        return answer

    async def count(
        self,
        case: str,
        method: str,
        target: str,
        status: int,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """A request whose SQL is noted under *case*."""
        await asyncio.sleep(0)
        self._log.take()
        answer = await self.do(method, target, status, headers, body)
        await asyncio.sleep(0)  # asyncpg tells of its statements by the loop
        self.spent[case] = self._log.take()
        return answer

    async def push_image(self, repository: str, tag: str, *layers: bytes) -> bytes:
        """Push it, uncounted; its manifest."""
        for blob in (CONFIG, *layers):
            target = f"/v2/{repository}/blobs/uploads/?digest={digest_of(blob)}"
            await self.do("POST", target, 201, {**ALICE, "Content-Type": OCTETS}, blob)
        body = encode(image(CONFIG, *layers))
        await self.do("PUT", f"/v2/{repository}/manifests/{tag}", 201, {**ALICE, "Content-Type": MANIFEST}, body)
        return body


async def pulls(script: Script) -> None:
    """Reads of an image, by a stranger who may pull; each of the first kind comes after a commit."""
    body = await script.push_image("guard/pull", "v1", LAYER)
    digest, blob = digest_of(body), f"/v2/guard/pull/blobs/{digest_of(LAYER)}"
    by_tag, by_digest = "/v2/guard/pull/manifests/v1", f"/v2/guard/pull/manifests/{digest}"
    await script.count("manifest GET by tag, after a commit", "GET", by_tag, 200, {})
    await script.count("manifest GET by tag, remembered", "GET", by_tag, 200, {})
    await script.count("manifest GET by digest, after a commit", "GET", by_digest, 200, {})
    await script.count("manifest HEAD by tag", "HEAD", by_tag, 200, {})
    await script.push_image("guard/other", "v1", LAYER)
    await script.count("manifest 304 by tag", "GET", by_tag, 304, {"If-None-Match": f'"{digest}"'})
    await script.count("manifest 404 by tag", "GET", "/v2/guard/pull/manifests/none", 404, {})
    await script.count("blob GET", "GET", blob, 200, {})
    await script.count("blob HEAD, remembered", "HEAD", blob, 200, {})
    await script.count("blob 404", "HEAD", f"/v2/guard/pull/blobs/{digest_of(b'none')}", 404, {})
    await script.count("/v2/, remembered password", "GET", "/v2/", 200)


async def listings(script: Script) -> None:
    """Pages of many entries."""
    body = await script.push_image("guard/pages", "v0", LAYER)
    await _tag(script, "guard/pages", body, MANY)
    for number in range(MANY):
        artifact = encode(image(CONFIG, LAYER, subject=descriptor(body, MANIFEST), annotations={"n": str(number)}))
        headers = {**ALICE, "Content-Type": MANIFEST}
        await script.do("PUT", f"/v2/guard/pages/manifests/{digest_of(artifact)}", 201, headers, artifact)
    await script.count("tags page", "GET", "/v2/guard/pages/tags/list?n=20", 200, {})
    await script.count("tags page, the next", "GET", "/v2/guard/pages/tags/list?n=20&last=t10", 200, {})
    await script.count("catalog page", "GET", "/v2/_catalog?n=20", 200)
    await script.count("referrers", "GET", f"/v2/guard/pages/referrers/{digest_of(body)}", 200, {})


async def pushes(script: Script) -> None:
    """Blobs in one request and in three, a mount, manifests and tags."""
    uploads, octets = "/v2/guard/push/blobs/uploads/", {**ALICE, "Content-Type": OCTETS}
    one, three = noise(700, seed=2), noise(700, seed=3)
    await script.push_image("guard/push", "v0", LAYER)
    await script.count("blob POST, all of it", "POST", f"{uploads}?digest={digest_of(one)}", 201, octets, one)
    begun = await script.count("blob POST", "POST", uploads, 202, body=b"")
    target = begun.header("location")
    await script.count("blob PATCH", "PATCH", target, 202, octets, three)
    await script.count("blob PUT", "PUT", f"{target}?digest={digest_of(three)}", 201, body=b"")
    await script.count("blob POST, a mount", "POST", f"{uploads.replace('push', 'mount')}?mount={digest_of(one)}", 201)
    for layers in (FEW, MANY):
        blobs = [noise(100, seed=100 + number) for number in range(layers)]
        await script.push_image("guard/push", "filled", *blobs)
        fresh = encode(image(CONFIG, *blobs, annotations={"fresh": "yes"}))
        typed = {**ALICE, "Content-Type": MANIFEST}
        await script.count(f"manifest PUT, {layers} layers", "PUT", "/v2/guard/push/manifests/v1", 201, typed, fresh)
    again = encode(image(CONFIG, LAYER))
    await script.count("tag PUT", "PUT", "/v2/guard/push/manifests/v2", 201, {**ALICE, "Content-Type": MANIFEST}, again)


async def deletes(script: Script) -> None:
    """A tag, a blob, and manifests with one tag and with a thousand."""
    body = await script.push_image("guard/few", "t0", LAYER)
    await script.push_image("guard/few", "t1", LAYER)
    await script.push_image("guard/many", "t0", LAYER)
    await _tag(script, "guard/many", body, 1000)
    await script.count("tag DELETE", "DELETE", "/v2/guard/few/manifests/t1", 202)
    await script.count("manifest DELETE, 1 tag", "DELETE", f"/v2/guard/few/manifests/{digest_of(body)}", 202)
    await script.count("manifest DELETE, 1,000 tags", "DELETE", f"/v2/guard/many/manifests/{digest_of(body)}", 202)
    await script.count("blob DELETE", "DELETE", f"/v2/guard/few/blobs/{digest_of(LAYER)}", 202)


async def _tag(script: Script, repository: str, body: bytes, count: int) -> None:
    """Give the manifest the tags t0, t1 and so on, a hundred by each request."""
    names = [f"t{number}" for number in range(count)]
    for start in range(0, count, 100):
        query = "&".join(f"tag={name}" for name in names[start : start + 100])
        target = f"/v2/{repository}/manifests/{digest_of(body)}?{query}"
        await script.do("PUT", target, 201, {**ALICE, "Content-Type": MANIFEST}, body)


async def logins(script: Script) -> None:
    """A password for the first time, one that was right before, and a wrong one."""
    await script.count("/v2/, new password", "GET", "/v2/", 200)
    await script.push_image("guard/login", "v1", LAYER)
    await script.count("/v2/, remembered password after a commit", "GET", "/v2/", 200)
    await script.count("/v2/, wrong password", "GET", "/v2/", 401, {"Authorization": basic(USER, "guess")})
    await script.count("/v2/, nobody's name", "GET", "/v2/", 401, {"Authorization": basic("nobody", "guess")})


def spend(settings: Settings, log: SqlLog) -> Mapping[str, Spent]:
    """The SQL of every case."""

    async def main() -> Mapping[str, Spent]:
        await made_ready(settings)
        async with Registry(settings) as registry:
            script = Script(registry, log)
            for part in (logins, pulls, listings, pushes, deletes):
                await part(script)
            return script.spent

    return asyncio.run(main())


def figures(spent: Mapping[str, Spent]) -> dict[str, dict[str, int]]:
    """What the table holds."""
    return {case: {"statements": taken.statements, "transactions": taken.transactions} for case, taken in spent.items()}


def test_no_request_takes_more_statements_on_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Table
) -> None:
    """Every request takes at most the statements and transactions of the table; tags cost a delete none."""
    spent = spend(settings_for(tmp_path), SqlLog(monkeypatch))

    limits.check("statements on SQLite", figures(spent), {case: str(taken) for case, taken in spent.items()})
    assert len(spent["manifest DELETE, 1,000 tags"].texts) == len(spent["manifest DELETE, 1 tag"].texts)


def test_no_request_takes_more_statements_on_postgres(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch, limits: Table
) -> None:
    """The same on PostgreSQL, where each statement is a round trip."""
    spent = spend(settings_for(tmp_path, postgres_url), SqlLog(monkeypatch))

    limits.check("statements on PostgreSQL", figures(spent), {case: str(taken) for case, taken in spent.items()})
    assert len(spent["manifest DELETE, 1,000 tags"].texts) == len(spent["manifest DELETE, 1 tag"].texts)
