"""docs/reference/endpoints.md and the router tell the same."""

from __future__ import annotations

import re

from moorage.v2.routes import ROUTES
from tests.docs.markdown import ROOT

PAGE = ROOT / "docs" / "reference" / "endpoints.md"


def test_every_route_has_its_row() -> None:
    """Each method and path of the router stands in the table with the right it needs, and nothing else does."""
    rows = re.findall(r"^\| `([A-Z]+)` \| `([^`]+)` \|.*\| ([a-z]+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)

    routes = [
        (method, route.path, action.value)
        for route in ROUTES
        for method, action in route.actions.items()
        if method != "HEAD"
    ]

    assert sorted(rows) == sorted(routes)


def test_every_get_can_be_a_head() -> None:
    """The page says so once instead of in every row: the router has HEAD beside each GET, with the same right."""
    pairs = [(route.actions.get("GET"), route.actions.get("HEAD")) for route in ROUTES]

    assert all(get == head for get, head in pairs)
