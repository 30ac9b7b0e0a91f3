"""A request's body between the connection that feeds it and the handler that takes it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import BadRequest, ClientGone, TooLarge
from moorage.server.body import RequestBody


class Feeder:
    """A connection that remembers what its body asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def hold(self) -> None:
        self.asked.append("hold")

    def want(self) -> None:
        self.asked.append("want")


@given(st.lists(st.binary(min_size=1, max_size=50)), st.lists(st.binary(min_size=1, max_size=50)), st.booleans())
def test_every_byte_in_order(before: list[bytes], after: list[bytes], announced: bool) -> None:  # noqa: FBT001
    """What comes before the handler asks and what comes after reach it whole and in order."""
    whole = b"".join(before + after)

    async def take() -> tuple[bytes, int]:
        body = RequestBody(Feeder(), len(whole) if announced else None)
        for piece in before:
            body.feed(memoryview(piece))
        taken = bytearray()
        task = asyncio.create_task(body.receive(taken.extend))
        await asyncio.sleep(0)
        for piece in after:
            body.feed(memoryview(piece))
        if not task.done():
            body.finish()
        return bytes(taken), await task

    assert asyncio.run(take()) == (whole, len(whole))


def test_flood_before_the_handler_asks_is_held() -> None:
    """A handler that is busy with something else does not pile its body up: the connection is told to hold."""
    feeder = Feeder()
    body = RequestBody(feeder, 1 << 20)

    for _ in range(64):
        body.feed(memoryview(b"x" * 1024))
    quiet = list(feeder.asked)
    body.feed(memoryview(b"x"))

    assert quiet == []
    assert feeder.asked == ["hold"]


def test_body_that_failed_is_held() -> None:
    """Once a handler has refused a body, no more of it is wanted."""
    feeder = Feeder()

    async def take() -> None:
        body = RequestBody(feeder, None)
        task = asyncio.create_task(body.read(10))
        await asyncio.sleep(0)
        body.feed(memoryview(b"x" * 11))
        await task

    with pytest.raises(TooLarge):
        asyncio.run(take())
    assert feeder.asked == ["want", "hold"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", [ClientGone, BadRequest])
def test_what_went_wrong_is_raised_where_it_is_awaited(kind: type[Exception], when: str) -> None:
    """A lost client and a broken coding are the handler's to hear, whether it waits already or not."""

    def spoil(body: RequestBody) -> None:
        if kind is ClientGone:
            body.lose("gone")
        else:
            body.spoil(BadRequest(400, "broken"))

    async def take() -> None:
        body = RequestBody(Feeder(), None)
        if when == "before":
            spoil(body)
        task = asyncio.create_task(body.read(10))
        await asyncio.sleep(0)
        if when == "after":
            spoil(body)
        await task

    with pytest.raises(kind):
        asyncio.run(take())


def test_complete_body_cannot_be_lost() -> None:
    """A client that leaves behind its whole body leaves it whole."""

    async def take() -> bytes:
        body = RequestBody(Feeder(), 3)
        body.feed(memoryview(b"abc"))
        body.finish()
        body.lose("gone")
        return await body.read(10)

    assert asyncio.run(take()) == b"abc"


@pytest.mark.parametrize("length", [11, None])
def test_limit(length: int | None) -> None:
    """A body beyond the limit is refused, by its announced length or by its bytes."""

    async def take() -> bytes:
        body = RequestBody(Feeder(), length)
        body.feed(memoryview(b"x" * 11))
        body.finish()
        return await body.read(10)

    with pytest.raises(TooLarge):
        asyncio.run(take())
