from __future__ import annotations

import asyncio
import math

import pytest

from moorage.message import Body, Request
from moorage.observe.metrics import Sample, exposition
from moorage.public.metrics import Metrics


class NoBody:
    """A request's body that is not there."""

    length: int | None = 0

    async def receive(self, sink: object) -> int:
        return 0

    async def read(self, limit: int) -> bytes:
        return b""


def asked(face: Metrics, path: str, method: str = "GET") -> tuple[int, bytes]:
    """The status and body for a path."""
    body: Body = NoBody()
    response = asyncio.run(face(Request(method, path, "", {}, frozenset(), body, "127.0.0.1", secure=False)))
    return response.status, response.body


def test_samples_of_one_name_stand_together() -> None:
    """Each family once, with its help and kind, in the order of their first samples."""
    samples = [
        Sample("a_seconds", 1.5, {"name": "x"}, "How long."),
        Sample("b_total", 3, {}, "How many.", "counter"),
        Sample("a_seconds", 2, {"name": "y"}, "How long."),
    ]

    assert exposition(samples).decode() == (
        "# HELP a_seconds How long.\n"
        "# TYPE a_seconds gauge\n"
        'a_seconds{name="x"} 1.5\n'
        'a_seconds{name="y"} 2\n'
        "# HELP b_total How many.\n"
        "# TYPE b_total counter\n"
        "b_total 3\n"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.25, "-0.25"),
        (1800000000.75, "1800000000.75"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    """As Prometheus reads them: all digits, and the words for what is no number."""
    assert exposition([Sample("a", value, {}, "x")]).endswith(f"\na {text}\n".encode())


def test_no_label_ends_a_line() -> None:
    """What stands in a label is quoted: backslashes, quotes, newlines."""
    text = exposition([Sample("a", 1, {"name": 'x"} 2\nb \\'}, "one\ntwo \\")]).decode()

    assert text == '# HELP a one\\ntwo \\\\\n# TYPE a gauge\na{name="x\\"} 2\\nb \\\\"} 1\n'


@pytest.mark.parametrize("sample", [Sample("a b", 1, {}, ""), Sample("a", 1, {"a-b": ""}, ""), Sample("", 1, {}, "")])
def test_names_that_prometheus_does_not_take(sample: Sample) -> None:
    """A mistake of ours is an error and no broken page."""
    with pytest.raises(ValueError, match="no name of a"):
        exposition([sample])


@pytest.mark.parametrize(
    ("path", "wanted", "status"),
    [
        ("/metrics", "/metrics", 200),
        ("/metrics", "/m", 404),
        ("/m", "/m", 200),
        (None, "/metrics", 404),
        (None, "/debug/health", 200),
        ("/metrics", "/debug/health", 200),
        ("/metrics", "/", 404),
    ],
)
def test_paths(path: str | None, wanted: str, status: int) -> None:
    """The figures are where the settings say, and health is there in any case."""
    face = Metrics(lambda: [Sample("a", 1, {}, "x")], path)

    assert asked(face, wanted)[0] == status
    assert asked(face, wanted, "POST")[0] == (405 if status == 200 else 404)
