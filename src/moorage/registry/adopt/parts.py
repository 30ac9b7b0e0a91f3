"""Plans cut into pieces that one transaction can take, since whoever else writes waits for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from moorage.registry.adopt.plan import Plan

MOST_CHANGES: Final = 5000
"""Changes of one transaction, which keeps other writers waiting (measured: some 100 ms on SQLite)."""

# Blobs and manifests before the tags that lead to them; what goes, the other way round.
_LISTS: Final = (
    "blobs",
    "manifests",
    "tags",
    "moved",
    "gone_tags",
    "gone_revisions",
    "gone_layers",
    "rewrite",
)


def batches(plans: Iterable[Plan], most: int) -> Iterator[list[Plan]]:
    """The plans in order, in lists of about *most* changes; one with more of them in several parts."""
    batch: list[Plan] = []
    changes = 0
    for plan in plans:
        for part in _parts(plan, most):
            batch.append(part)
            changes += _changes(part)
            if changes >= most:
                yield batch
                batch, changes = [], 0
    if batch:
        yield batch


def _parts(plan: Plan, most: int) -> Iterator[Plan]:
    """The plan, or parts of it that say that they are not the *last*."""
    if _changes(plan) <= most:
        yield plan
        return
    nothing: dict[str, Any] = {name: [] for name in _LISTS}
    part, room = {**nothing}, most
    for name in _LISTS:
        items = getattr(plan, name)
        start = 0
        while len(items) - start > room:
            part[name] = items[start : start + room]
            yield replace(plan, **part, last=False)
            start += room
            part, room = {**nothing}, most
        part[name] = items[start:]
        room -= len(items) - start
    yield replace(plan, **part)


def _changes(plan: Plan) -> int:
    return sum(len(getattr(plan, name)) for name in _LISTS)
