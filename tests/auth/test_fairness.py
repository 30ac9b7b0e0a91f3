from __future__ import annotations

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from moorage.auth.fairness import FairQueue, share_of


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("2001:db8::1", "2001:db8::2:3:4:5", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "", True),
        ("unix:/run/moorage.sock", "unix:", False),
    ],
)
def test_addresses_that_share_turns(one: str, other: str, same: bool) -> None:  # noqa: FBT001
    """An IPv4 address is one share however it is written, and so is what one IPv6 customer has."""
    assert (share_of(one) == share_of(other)) is same


def test_turns_go_round_shares_then_users() -> None:
    """Whoever queues one item waits for one of each other share, and for one of each other user of the same share."""
    queue: FairQueue[str] = FairQueue(100, 100)
    for item in ("a1", "a2", "a3", "a4"):
        queue.push("A", "alice", item)
    queue.push("A", "anna", "n1")
    queue.push("B", "bob", "b1")

    order = [queue.pop() for _ in range(len(queue))]

    assert order == ["a1", "b1", "n1", "a2", "a3", "a4"]


def test_a_full_queue_drops_from_whoever_fills_it() -> None:
    """A newcomer takes the place of the newest item of the longest share; those who fill it take no more."""
    queue: FairQueue[str] = FairQueue(3, 100)
    for item in ("a1", "a2", "a3"):
        queue.push("A", "alice", item)

    assert queue.push("A", "anna", "a4") == "a4"
    assert queue.push("B", "bob", "b1") == "a3"
    assert queue.push("B", "bob", "b2") == "b2"
    assert [queue.pop() for _ in range(len(queue))] == ["a1", "b1", "a2"]


def test_one_user_of_one_share_has_a_limit() -> None:
    """Beyond it a new item is refused although the queue has room."""
    queue: FairQueue[str] = FairQueue(100, 2)

    assert [queue.push("A", "alice", item) for item in ("a1", "a2", "a3")] == [None, None, "a3"]
    assert queue.push("A", "anna", "n1") is None


def test_an_empty_queue_has_no_turn() -> None:
    """Taking from an empty queue is an error, and removing what does not wait is not."""
    queue: FairQueue[str] = FairQueue(1, 1)

    assert not queue.remove("A", "alice", "a1")
    with pytest.raises(IndexError):
        queue.pop()


class Queueing(RuleBasedStateMachine):
    """Against a plain list: nothing is lost or doubled, order holds within a user, and no share is passed over."""

    capacity, each = 6, 3

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[int] = FairQueue(self.capacity, self.each)
        self.model: list[tuple[str, str, int]] = []
        self.numbers = itertools.count()
        self.passed_over: dict[str, int] = {}

    @rule(share=st.sampled_from("ABC"), user=st.sampled_from("uv"))
    def push(self, share: str, user: str) -> None:
        item = next(self.numbers)
        before = len(self.model)
        mine = sum(entry[:2] == (share, user) for entry in self.model)

        gone = self.queue.push(share, user, item)

        self.model.append((share, user, item))
        self.model = [entry for entry in self.model if entry[2] != gone]
        if before < self.capacity and mine < self.each:
            assert gone is None
        else:
            assert gone is not None

    @precondition(lambda self: self.model)
    @rule()
    def pop(self) -> None:
        waiting = {share for share, _, _ in self.model}

        item = self.queue.pop()

        share, user, _ = next(entry for entry in self.model if entry[2] == item)
        assert item == min(number for s, u, number in self.model if (s, u) == (share, user))
        self.model = [entry for entry in self.model if entry[2] != item]
        for other in waiting - {share}:
            self.passed_over[other] = self.passed_over.get(other, 0) + 1
            assert self.passed_over[other] <= 2
        self.passed_over[share] = 0

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        share, user, item = data.draw(st.sampled_from(self.model))

        assert self.queue.remove(share, user, item)
        assert not self.queue.remove(share, user, item)
        self.model.remove((share, user, item))

    @invariant()
    def sizes_agree(self) -> None:
        assert len(self.queue) == len(self.model) <= self.capacity
        for share in {"A", "B", "C"} - {share for share, _, _ in self.model}:
            self.passed_over[share] = 0


TestQueueing = Queueing.TestCase
