"""The simulator: each request gets its tokens, whatever the memory; less memory costs steps and repeated work."""

from __future__ import annotations

import pytest
from exercise import BlockManager, Blocks, Request, Sequence, Simulator, next_token


def requests(count: int, prompt: int, output: int) -> list[Request]:
    """Return requests whose prompts begin with one block in common."""
    return [
        Request(Sequence([7] * 4 + [index + 1] * (prompt - 4)), num_tokens=prompt + output) for index in range(count)
    ]


def alone(request: Request, prompt: int) -> list[int]:
    """Return the tokens that the request would write with the memory to itself."""
    tokens = request.sequence.tokens[:prompt]
    while len(tokens) < request.num_tokens:
        tokens.append(next_token(tokens))
    return tokens


def test_one_request_takes_a_step_for_each_token() -> None:
    """A request that writes three tokens owns blocks for three steps, and in the fourth its last token is computed."""
    simulator = Simulator(BlockManager(4, 4), [Request(Sequence([1, 2, 3]), num_tokens=6)])
    assert simulator.run() == [Blocks(1, 0, 3), Blocks(1, 0, 3), Blocks(2, 0, 2), Blocks(0, 1, 3)]


def test_with_room_for_all_no_request_is_preempted() -> None:
    """Eight requests with 64 blocks run side by side."""
    many = requests(8, prompt=10, output=12)
    simulator = Simulator(BlockManager(64, 4), many)
    steps = simulator.run()
    assert [request.num_preemptions for request in many] == [0] * 8
    assert simulator.num_recomputed == 0
    assert len(steps) == 13


@pytest.mark.parametrize("num_blocks", [6, 9, 14, 23])
def test_every_request_gets_the_same_tokens_in_less_memory(num_blocks: int) -> None:
    """Preempted or not, each request writes what it would write alone, and every block comes back."""
    many = requests(8, prompt=10, output=12)
    manager = BlockManager(num_blocks, 4)
    simulator = Simulator(manager, many)
    steps = 0
    while simulator.waiting or simulator.running:
        simulator.step()
        manager.check([request.sequence for request in simulator.running])
        steps += 1
        assert steps < 1000, "no end in sight"
    assert [request.sequence.tokens for request in many] == [alone(request, prompt=10) for request in many]
    assert manager.num_available == num_blocks


def test_the_youngest_is_preempted() -> None:
    """The oldest request is never preempted, so there is always one that comes to its end."""
    many = requests(6, prompt=8, output=24)
    Simulator(BlockManager(14, 4), many).run()
    assert many[0].num_preemptions == 0
    assert sum(request.num_preemptions for request in many) > 0


def test_nothing_overtakes() -> None:
    """A large request at the front waits, and a small one behind it waits as well."""
    manager = BlockManager(5, 4)
    large = [Request(Sequence([index] * 15), num_tokens=17) for index in (1, 2)]
    small = Request(Sequence([3]), num_tokens=2)
    simulator = Simulator(manager, [*large, small])
    simulator.step()
    assert [request in simulator.running for request in (*large, small)] == [True, False, False]
