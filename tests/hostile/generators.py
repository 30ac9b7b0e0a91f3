"""Requests that are wrong in many small ways, made from a seeded generator."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.content import INDEX, MANIFEST, OCTETS, digest_of, encode, image, index
from tests.hostile.target import Target
from tests.raw_http import chunked

BASE = "fuzz/base"
"""A repository with the target's image; it may be gone by the next request."""

METHODS = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PROPFIND",
    "CONNECT",
    "BREW",
    "get",
    "",
)
NAMES = (
    BASE,
    "fuzz/a",
    "fuzz/b",
    "UPPER",
    "a//b",
    "..",
    ".",
    "_x",
    "a%2Fb",
    "%2e%2e",
    "a" * 256,
    "",
    "v2",
    "é",
    "%00",
)
TAGS = (
    "v1",
    "t",
    "latest",
    ".",
    "..",
    "-x",
    "t" * 129,
    "a:b",
    "a/b",
    "%0a",
    "%00",
    "%ff",
    "",
    "sha256-abc",
    "CON",
    "%",
)
TEXTS = (
    "",
    "0",
    "-1",
    "1",
    "9" * 19,
    "9" * 25,
    "1e9",
    "１",
    "²",
    "%00",
    "%zz",
    "%",
    "a b",
    "*",
    "'",
    '"',
    "\\",
    "../../etc",
)
VERSIONS = ("HTTP/1.1",) * 12 + ("HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.10", "http/1.1", "")
NUMBERS = ("0", "1", "5", "-1", "+1", "0x1", "1_0", " 1", "１", "", "a", "2147483648", "9223372036854775808", "9" * 40)


@dataclass
class Fuzzer:
    """One stream of requests; the same *seed* and *target* make the same ones."""

    target: Target
    seed: int
    uploads: Sequence[str]
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def exchange(self) -> bytes:
        """What one connection sends: one request or a few, whole or damaged."""
        choice = self.random
        raw = b"".join(self.request() for _ in range(choice.choice((1, 1, 1, 2, 3, 8))))
        for _ in range(choice.choice((0, 0, 0, 1, 1, 3))):
            raw = self.damage(raw)
        return raw

    def cut(self, raw: bytes) -> list[bytes]:
        """*raw* in the pieces that it is sent in, mostly one."""
        cuts = sorted(self.random.choices(range(len(raw) + 1), k=self.random.choice((0, 0, 1, 5))))
        return [raw[start:end] for start, end in pairwise([0, *cuts, len(raw)])]

    def request(self) -> bytes:
        """One request, more often nearly right than not."""
        choice = self.random
        method = choice.choice(METHODS[:6]) if choice.random() < 0.85 else choice.choice(METHODS)
        target = self.path() + self.query()
        if choice.random() < 0.05:
            target = choice.choice(("*", "http://a/v2/", "https://a:1" + target, "//a" + target, "?" + target, "a", ""))
        body = self.body() if method in {"PUT", "PATCH", "POST"} or choice.random() < 0.1 else b""
        headers, sent = self.framing(method, body)
        headers += [pair for pair in (self.header() for _ in range(choice.choice((0, 0, 1, 2, 5)))) if pair]
        choice.shuffle(headers)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return f"{method} {target} {choice.choice(VERSIONS)}\r\n{lines}\r\n".encode("utf-8", "surrogateescape") + sent

    def path(self) -> str:
        choice = self.random
        name = choice.choice(NAMES[:3]) if choice.random() < 0.6 else choice.choice(NAMES)
        kinds: tuple[Callable[[], str], ...] = (
            lambda: f"manifests/{self.reference()}",
            lambda: f"blobs/{self.digest()}",
            lambda: f"referrers/{self.digest()}",
            lambda: "blobs/uploads/",
            lambda: f"blobs/uploads/{choice.choice(TEXTS)}",
            lambda: "tags/list",
        )
        special = ("/", "/v2", "/v2/", "/v2/_catalog", "/v1/_ping", "/v2/../v2/", "/V2/", "/" + "a/" * 300, "/%2e%2e/x")
        if choice.random() < 0.1:
            return choice.choice(special)
        if choice.random() < 0.25:
            return choice.choice(self.uploads)
        return f"/v2/{name}/{choice.choice(kinds)()}"

    def reference(self) -> str:
        return self.digest() if self.random.random() < 0.5 else self.random.choice(TAGS)

    def digest(self) -> str:
        good = (digest_of(self.target.layer), digest_of(b""), digest_of(b"abc"), digest_of(b"abc", "sha512"))
        bad = (
            "sha256:",
            "sha256:" + "g" * 64,
            "sha256:" + "a" * 63,
            "md5:" + "0" * 32,
            ":",
            "sha256:../..",
            "sha256:%00",
        )
        return self.random.choice((*good, *good, *bad, self.target.manifest_digest))

    def query(self) -> str:
        choice = self.random
        if choice.random() < 0.5:
            return ""
        names = (
            "digest",
            "mount",
            "from",
            "n",
            "last",
            "tag",
            "artifactType",
            "digest-algorithm",
            "ns",
            "",
            "%00",
            "a b",
        )
        values: tuple[Callable[[], str], ...] = (
            self.digest,
            lambda: choice.choice(NAMES),
            lambda: choice.choice(TAGS),
            lambda: choice.choice(TEXTS),
            lambda: choice.choice(("sha512", "sha256", "md5", "x" * 500)),
        )
        pairs = [f"{choice.choice(names)}={choice.choice(values)()}" for _ in range(choice.choice((1, 1, 2, 3, 30)))]
        return "?" + "&".join(pairs)

    def framing(self, method: str, body: bytes) -> tuple[list[tuple[str, str]], bytes]:
        """The headers that say how long the body is, sometimes wrongly, and the body as it is sent."""
        choice = self.random
        headers = [("Host", "registry.test")] if choice.random() < 0.97 else []
        roll = choice.random()
        if not body and method in {"GET", "HEAD", "DELETE"} and roll < 0.9:
            return headers, b""
        if roll < 0.6:
            return [*headers, ("Content-Length", str(len(body)))], body
        if roll < 0.8:
            return [*headers, ("Transfer-Encoding", "chunked")], self.chunks(body)
        if roll < 0.9:
            return [*headers, ("Content-Length", choice.choice(NUMBERS))], body
        coding = choice.choice(("chunked, gzip", "gzip, chunked", "identity", "CHUNKED", "chunked,chunked", "x", ""))
        return [*headers, ("Transfer-Encoding", coding), ("Content-Length", str(len(body)))][
            : choice.choice((2, 3))
        ], body

    def chunks(self, body: bytes) -> bytes:
        choice = self.random
        good = chunked(body, choice.choice((1, 7, 1000, 100_000)))
        bad = (
            good[:-2] + b"Trailer: x\r\n\r\n",
            good[:-5],
            b"5;ext=" + b"x" * choice.choice((1, 5000)) + b"\r\nabcde\r\n0\r\n\r\n",
            b"ffffffffffffffff\r\n" + body,
            b"fffffffffffffffff\r\n" + body,
            b"-1\r\n" + body,
            b"\r\n" + body,
            b"0\r\n" * 10,
            b"5\nabcde\n0\n\n",
            b"0" * 500 + b"\r\n\r\n",
        )
        return good if choice.random() < 0.7 else choice.choice(bad)

    def header(self) -> tuple[str, str] | None:
        choice = self.random
        alice = self.target.alice.headers["Authorization"]
        credentials = (alice,) * 8 + (
            self.target.bob.headers["Authorization"],
            "Basic",
            "Basic !",
            "Bearer x",
            "Basic Og==",
        )
        offset = choice.choice(NUMBERS) + "-" + choice.choice(NUMBERS)
        makers: tuple[tuple[str, Callable[[], str]], ...] = (
            ("Authorization", lambda: choice.choice(credentials)),
            ("Authorization", lambda: alice),
            ("Authorization", lambda: alice),
            ("Content-Type", lambda: choice.choice((MANIFEST, INDEX, OCTETS, "", "x", "a/" + "b" * 300, "a/b;c=d"))),
            ("Content-Range", lambda: choice.choice((offset, "bytes " + offset, "bytes */5", "x"))),
            (
                "Range",
                lambda: choice.choice(("bytes=" + offset, "bytes=" + ",".join([offset] * 100), "items=1", "bytes=")),
            ),
            ("If-Range", lambda: choice.choice(('"x"', f'"{digest_of(self.target.layer)}"', "", '"'))),
            ("If-None-Match", lambda: choice.choice(("*", '"x"', f'W/"{self.target.manifest_digest}"', '"' * 50))),
            ("Accept", lambda: choice.choice(("*/*", INDEX, "x" * 5000, ";q=,", ""))),
            ("Accept-Encoding", lambda: "gzip, zstd;q=1"),
            ("Expect", lambda: choice.choice(("100-continue", "200-ok", ""))),
            ("Connection", lambda: choice.choice(("close", "keep-alive", "Upgrade", "close, keep-alive", "x" * 100))),
            ("Upgrade", lambda: choice.choice(("h2c", "websocket", "TLS/1.3"))),
            ("Host", lambda: choice.choice(("", "a", "a:1", "[::1]", "a b", "é"))),
            ("X-Forwarded-Proto", lambda: "javascript"),
            ("X" * choice.choice((1, 100, 3000)), lambda: "x" * choice.choice((0, 1, 3000))),
            ("Cookie", lambda: "; ".join(f"a{number}=b" for number in range(200))),
        )
        name, make = choice.choice(makers)
        return name, make()

    def body(self) -> bytes:
        choice = self.random
        good = image(b"{}", self.target.layer)
        makers: tuple[Callable[[], bytes], ...] = (
            lambda: b"",
            lambda: b"abc",
            lambda: self.target.manifest,
            lambda: encode(good),
            lambda: encode(index({"mediaType": MANIFEST, "digest": self.target.manifest_digest, "size": 1})),
            lambda: encode(self.mutate(good)),
            lambda: encode(self.mutate(good)),
            lambda: b"[" * choice.choice((10, 1000, 100_000)),
            lambda: b'{"a":' * choice.choice((10, 1000, 20_000)),
            lambda: b'{"schemaVersion":' + b"9" * choice.choice((10, 400, 5000)) + b"}",
            lambda: choice.randbytes(choice.choice((1, 100, 70_000))),
            lambda: encode(good).decode().encode(choice.choice(("utf-16", "utf-32", "utf-8-sig"))),
        )
        return choice.choice(makers)()

    def mutate(self, value: object) -> object:
        """The JSON value with one of its parts replaced, doubled or gone."""
        choice = self.random
        strange: tuple[object, ...] = (
            None,
            True,
            2.0,
            -1,
            2**63,
            1e308,
            "",
            "x" * 300,
            "\x00",
            "é",
            [],
            {},
            [[]],
            {"a": {}},
            "sha256:x",
        )
        if isinstance(value, dict) and value and choice.random() < 0.8:
            key = choice.choice(list(value))
            if choice.random() < 0.1:
                return {name: item for name, item in value.items() if name != key}
            return {**value, key: self.mutate(value[key])}
        if isinstance(value, list) and value and choice.random() < 0.8:
            return [self.mutate(item) for item in value] * choice.choice((1, 1, 2, 50))
        return choice.choice(strange)

    def damage(self, raw: bytes) -> bytes:
        """Bytes flipped, inserted, lost, doubled, or an early end."""
        choice = self.random
        at = choice.randrange(len(raw) + 1) if choice.random() < 0.3 else choice.randrange(min(len(raw), 300) + 1)
        until = min(len(raw), at + choice.choice((1, 2, 10, 100)))
        pieces = (
            raw[:at] + bytes([choice.randrange(256)]) + raw[at + 1 :],
            raw[:at]
            + choice.choice((b"\0", b"\r", b"\n", b"\r\n", b" ", b":", b"%", b"\xff", b"\x80" * 50))
            + raw[at:],
            raw[:at] + raw[until:],
            raw[:until] + raw[at:],
            raw[:at],
        )
        return choice.choice(pieces)
