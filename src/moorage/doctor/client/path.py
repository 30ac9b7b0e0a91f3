"""The whole way of a client, step by step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

from moorage.doctor.client import api, image, login, proxy, reach, resolution, tls, trust
from moorage.doctor.client.journey import Journey, require_files
from moorage.doctor.client.scratch import Image, Scratch, make_image
from moorage.doctor.client.target import Options
from moorage.doctor.finding import Finding, skipped
from moorage.doctor.walk import Look, Step

Work = Callable[[Journey, Scratch, Image], AsyncIterator[Finding]]


def client_steps(options: Options) -> list[Step]:
    """The steps of one walk; they share what they learn, so a second walk needs new ones.

    Raises UserError for files of *options* that cannot be used.
    """
    require_files(options)
    journey = Journey(options)
    scratch, tiny = Scratch(journey), make_image()

    def within(work: Work) -> Look:
        return partial(_within, journey, scratch, tiny, work)

    return [
        Step("name", partial(resolution.look, journey)),
        Step("port", partial(reach.look, journey), needs=("name",)),
        Step("tls", partial(tls.look, journey), needs=("port",)),
        Step("clock", partial(trust.look_at_clock, journey), needs=("tls",)),
        Step("certificate", partial(trust.look, journey), needs=("tls",)),
        Step("api", partial(api.look, journey), needs=("tls",)),
        Step("login", partial(login.look, journey), needs=("certificate", "api")),
        Step("push", within(image.push), needs=("login",)),
        Step("pull", within(image.pull), needs=("push",)),
        Step("proxy", within(proxy.look), needs=("push",)),
        Step("tidy", partial(image.tidy, scratch)),
    ]


async def _within(journey: Journey, scratch: Scratch, tiny: Image, work: Work) -> AsyncIterator[Finding]:
    """*work* in the scratch repository, where it can be written to at all."""
    first = journey.first
    if journey.target.tls and journey.trusted is None:
        yield skipped("nothing is pushed over a connection that clients would refuse", blocks=True)
        return
    if first is not None and first.status == 401 and not journey.authorization:
        yield skipped("nothing is pushed without a user: say --user", blocks=True)
        return
    try:
        async for finding in work(journey, scratch, tiny):
            yield finding
    except (asyncio.CancelledError, GeneratorExit):
        scratch.clean()  # nobody comes to `tidy` any more
        raise
