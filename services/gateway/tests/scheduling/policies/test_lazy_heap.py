from __future__ import annotations

from llm_gateway.classes import DEFAULT_CLASSES
from llm_gateway.scheduling.policies.lazy_heap import COMPACT_ABOVE, LazyHeap
from llm_gateway.waiting import Waiting


def waiting(order: int) -> Waiting:
    request = Waiting(DEFAULT_CLASSES[0], 0.0)
    request.order, request.queued = order, True
    return request


def leave(heap: LazyHeap, request: Waiting) -> None:
    request.queued = False
    heap.removed()


def test_what_left_is_not_seen_and_its_entries_do_not_pile_up() -> None:
    heap = LazyHeap()
    stays = [waiting(order) for order in range(10)]
    for request in stays:
        heap.push(1.0, request)
    for order in range(10, 10_000):
        heap.push(2.0, request := waiting(order))
        leave(heap, request)
        assert len(heap._entries) <= COMPACT_ABOVE + 1
    assert heap.live == 10
    assert heap.peek() is stays[0]


def test_a_request_that_comes_back_again_and_again_stays_one_request() -> None:
    heap = LazyHeap()
    first, other = waiting(0), waiting(1)
    heap.push(5.0, other)
    heap.push(9.0, first)
    for _ in range(10_000):
        leave(heap, first)
        first.queued = True
        heap.push(9.0, first)
        assert len(heap._entries) <= COMPACT_ABOVE + 2
    assert (heap.peek(), heap.live) == (other, 2)
    leave(heap, other)
    assert heap.peek() is first
    leave(heap, first)
    assert (heap.peek(), heap.live, heap._entries) == (None, 0, [])
