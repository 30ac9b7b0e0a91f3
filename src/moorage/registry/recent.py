"""A bounded memory of what cannot change."""

from __future__ import annotations

from collections import OrderedDict


class RecentBytes:
    """The most recently used byte strings by key, within *budget* bytes in all and *largest* each."""

    def __init__(self, budget: int, largest: int) -> None:
        self._budget = budget
        self.largest = largest
        self._held = 0
        self._items: OrderedDict[str, bytes] = OrderedDict()

    def get(self, key: str) -> bytes | None:
        """The bytes, or None."""
        found = self._items.get(key)
        if found is not None:
            self._items.move_to_end(key)
        return found

    def put(self, key: str, data: bytes) -> None:
        """Remember *data* if it is small enough, and forget what was used longest ago."""
        if len(data) > self.largest or key in self._items:
            return
        self._items[key] = data
        self._held += len(data)
        while self._held > self._budget:
            self._held -= len(self._items.popitem(last=False)[1])

    def forget(self, key: str) -> None:
        """Forget *key*."""
        found = self._items.pop(key, None)
        if found is not None:
            self._held -= len(found)
