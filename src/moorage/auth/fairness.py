"""Whose turn it is, when more passwords are to be checked than can be.

Turns go round among addresses, then among the names that one address tries, then first come, first served. Someone who
logs in for the first time therefore waits for one check of each other address and not for all that a guesser has
queued.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


def share_of(peer: str) -> str:
    """Name what takes turns as one: an IPv4 address, an IPv6 /64 (what one customer has), or any other text itself."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))


class FairQueue(Generic[T]):
    """Waiting items, each under a share and a user: at most *capacity*, and *each* of one user of one share.

    Not for several threads.
    """

    def __init__(self, capacity: int, each: int) -> None:
        self._capacity = capacity
        self._each = each
        self._sizes: dict[str, int] = {}
        self._size = 0
        # The next turn is the first share's first user's first item; nothing in here is empty.
        self._shares: OrderedDict[str, OrderedDict[str, deque[T]]] = OrderedDict()

    def __len__(self) -> int:
        return self._size

    def push(self, share: str, user: str, item: T) -> T | None:
        """Queue *item*; return the one that there is no room for, which may be *item* itself.

        A full queue drops the newest item of the share that has most of them: who fills it is who loses.
        """
        if share in self._shares and len(self._shares[share].get(user, ())) >= self._each:
            return item
        dropped = None
        if self._size >= self._capacity:
            longest = max(self._sizes, key=self._sizes.__getitem__)
            if self._sizes.get(share, 0) + 1 >= self._sizes[longest]:
                return item
            dropped = self._drop_newest(longest)
        self._shares.setdefault(share, OrderedDict()).setdefault(user, deque()).append(item)
        self._sizes[share] = self._sizes.get(share, 0) + 1
        self._size += 1
        return dropped

    def pop(self) -> T:
        """Take the item whose turn it is; raises IndexError where nothing waits."""
        if not self._shares:
            raise IndexError("nothing waits")
        share, users = next(iter(self._shares.items()))
        user, items = next(iter(users.items()))
        item = items.popleft()
        self._shares.move_to_end(share)
        users.move_to_end(user)
        self._taken(share, user)
        return item

    def remove(self, share: str, user: str, item: T) -> bool:
        """Take *item* out of the middle; False if it does not wait."""
        if share not in self._shares or item not in self._shares[share].get(user, ()):
            return False
        self._shares[share][user].remove(item)
        self._taken(share, user)
        return True

    def _drop_newest(self, share: str) -> T:
        users = self._shares[share]
        user = max(users, key=lambda name: len(users[name]))
        item = users[user].pop()
        self._taken(share, user)
        return item

    def _taken(self, share: str, user: str) -> None:
        users = self._shares[share]
        if not users[user]:
            del users[user]
        if not users:
            del self._shares[share]
        self._size -= 1
        self._sizes[share] -= 1
        if not self._sizes[share]:
            del self._sizes[share]
