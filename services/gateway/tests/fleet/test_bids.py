from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.fleet.bids import Bid, BidBook


def test_a_bid_that_is_gone_before_it_was_told_costs_nothing() -> None:
    book = BidBook()
    book.withdraw(book.offer(1.0))
    assert not book.changed()
    assert book.take_news() == ([], [])


def test_a_bid_names_its_wishes() -> None:
    book = BidBook()
    members = [book.offer(1.0).member, book.offer(1.0, "e1").member, book.offer(1.0, "", ["e1", "e2"]).member]
    assert [orjson.loads(one) for one in members] == [[0], [1, "e1"], [2, "", "e1", "e2"]]


def test_a_grant_that_another_request_used_is_told_as_an_exchange() -> None:
    book = BidBook()
    best, other = book.offer(1.0), book.offer(2.0)
    book.take_news()
    book.granted(best.member)
    book.withdraw(other)
    assert book.take_news() == ([best], [other.member])


STEPS = st.lists(st.tuples(st.sampled_from(["offer", "withdraw", "grant", "tell", "tell", "join"]), st.integers(0, 30)))


@given(STEPS)
def test_redis_ends_up_with_exactly_the_live_bids(steps: list[tuple[str, int]]) -> None:
    """`copy` is the state of Redis, which can remove a bid by itself to grant it."""
    book, live, copy, everyone = BidBook(), set[str](), set[str](), list[Bid]()
    for step, number in [*steps, ("tell", 0)]:
        if step == "offer":
            everyone.append(book.offer(float(number)))
            live.add(everyone[-1].member)
        elif step == "withdraw" and everyone:
            book.withdraw(everyone[number % len(everyone)])
            live.discard(everyone[number % len(everyone)].member)
        elif step == "grant" and copy:
            granted = sorted(copy)[number % len(copy)]
            copy.remove(granted)
            book.granted(granted)
        elif step == "tell":
            added, dropped = book.take_news()
            copy = (copy - set(dropped)) | {bid.member for bid in added}
        elif step == "join":
            copy = {bid.member for bid in book.take_all()}
        assert set(book.live) == live
    assert copy == live
    assert not book.changed()
