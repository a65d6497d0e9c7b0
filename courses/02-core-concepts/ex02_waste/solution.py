"""The waste of a KV cache: three ways to give sequences memory, and where the slots go. A slot holds one token.

    contiguous   a room for the longest sequence that the server allows
    buddy        a room for as many tokens as the sequence will have, rounded up to a power of two
    paged        blocks for the tokens that are there, the last one maybe in part

Every slot of the memory is one of these, at any time:

    used       it holds a token
    reserved   it waits for a token that will come
    internal   it lies in a room, and no token will ever come
    external   it is in no room, and in a gap too small for the next sequence
    free       it is in no room, and the next sequence can have it

The names are those of Kwon et al., 2023, section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol


def bytes_per_token(config: dict[str, Any], bytes_per_value: int) -> int:
    """Return the bytes of one token's keys and values over all layers. `config` is a model's config.json.

    A config without `num_key_value_heads` has a KV head for each query head; one without `head_dim` has the hidden size
    divided by the number of query heads.
    """
    # region exercise: keys and values × layers × KV heads × head dimension × bytes
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return int(2 * config["num_hidden_layers"] * kv_heads * head_dim * bytes_per_value)
    # endregion


@dataclass(frozen=True)
class Sequence:
    tokens: int
    """Computed so far."""
    final: int
    """It will have at its end. No server knows this; an experiment does."""


RoomFor = Callable[[Sequence], int]
"""The slots that a sequence takes now."""


def contiguous(longest: int) -> RoomFor:
    """Return the rule that reserves the longest sequence for every sequence."""
    return lambda sequence: longest


def buddy(sequence: Sequence) -> int:
    """Return the smallest power of two that holds the final tokens."""
    # region exercise: double until it is enough, or count bits
    room = 1
    while room < sequence.final:
        room *= 2
    return room
    # endregion


def paged(block: int) -> RoomFor:
    """Return the rule that takes whole blocks for the tokens that are there."""

    def room(sequence: Sequence) -> int:
        # region exercise: blocks, rounded up, times slots
        return -(-sequence.tokens // block) * block
        # endregion

    return room


def split(sequence: Sequence, room: int) -> tuple[int, int, int]:
    """Return how many slots of its room are used, reserved and internal. Together they are the room."""
    # region exercise: tokens that will come find a slot here as long as there are slots
    reserved = min(sequence.final, room) - sequence.tokens
    return sequence.tokens, reserved, room - sequence.tokens - reserved
    # endregion


class Memory(Protocol):
    def place(self, room: int) -> bool:
        """Take that many slots in a row, if there is such a gap."""

    @property
    def gaps(self) -> list[int]:
        """Return the lengths of all gaps."""


class FirstFit:
    """One row of slots. A room goes into the first gap that holds it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.rooms: dict[int, int] = {}
        """First slot of each room -> its length."""

    @property
    def gaps(self) -> list[int]:
        return [length for _, length in self.find_gaps()]

    def find_gaps(self) -> list[tuple[int, int]]:
        """Return each gap's first slot and its length, in order. A gap has at least one slot."""
        # region exercise: walk along the rooms in order; the last gap ends where the memory does
        found, at = [], 0
        for first, length in [*sorted(self.rooms.items()), (self.size, 0)]:
            if first > at:
                found.append((at, first - at))
            at = first + length
        return found
        # endregion

    def place(self, room: int) -> bool:
        # region exercise: the first gap that is long enough
        for first, length in self.find_gaps():
            if length >= room:
                self.rooms[first] = room
                return True
        return False
        # endregion

    def release(self, first: int) -> None:
        del self.rooms[first]


class Buddy:
    """Rooms are powers of two. A gap is halved until it is right, and grows together with its buddy when both are free.

    The buddy of a piece of length n that begins at slot s begins at s ^ n: the two are the halves of one piece.
    """

    def __init__(self, size: int) -> None:
        """`size` is a power of two."""
        self.size = size
        self.rooms: dict[int, int] = {}
        self.free: dict[int, int] = {0: size}
        """First slot of each gap -> its length."""

    @property
    def gaps(self) -> list[int]:
        return list(self.free.values())

    def place(self, room: int) -> bool:
        # region exercise: the smallest gap that is long enough, the first of equals; its upper halves stay free
        fitting = [(length, first) for first, length in self.free.items() if length >= room]
        if not fitting:
            return False
        length, first = min(fitting)
        del self.free[first]
        while length > room:
            length //= 2
            self.free[first + length] = length
        self.rooms[first] = room
        return True
        # endregion

    def release(self, first: int) -> None:
        # region exercise: as long as the buddy is a gap of the same length, the two become one
        length = self.rooms.pop(first)
        while self.free.get(first ^ length) == length:
            del self.free[first ^ length]
            first = min(first, first ^ length)
            length *= 2
        self.free[first] = length
        # endregion


class Blocks:
    """Any block will do, so all free blocks are one gap."""

    def __init__(self, size: int) -> None:
        self.num_free = size

    @property
    def gaps(self) -> list[int]:
        return [self.num_free]

    def place(self, room: int) -> bool:
        if room > self.num_free:
            return False
        self.num_free -= room
        return True


@dataclass(frozen=True)
class Census:
    """Slots of a memory by what they are; and the sequences that are in it."""

    sequences: int
    used: int
    reserved: int
    internal: int
    external: int
    free: int


def fill(memory: Memory, sequences: Iterable[Sequence], room_for: RoomFor) -> Census:
    """Place the sequences in order, up to the first that does not fit. Free are the gaps that would have held it.

    If all fit, every gap is free.
    """
    # region exercise: place, and add up `split`; then sort the gaps by whether the next room fits
    count = used = reserved = internal = wanted = 0
    for sequence in sequences:
        room = room_for(sequence)
        if not memory.place(room):
            wanted = room
            break
        now, later, never = split(sequence, room)
        count, used, reserved, internal = count + 1, used + now, reserved + later, internal + never
    external = sum(gap for gap in memory.gaps if gap < wanted)
    return Census(count, used, reserved, internal, external, sum(memory.gaps) - external)
    # endregion


def in_the_middle(count: int, longest: int, seed: int = 0) -> list[Sequence]:
    """Return sequences of 1 to `longest` tokens, each at a random moment of its life."""
    random = Random(seed)
    finals = [random.randint(1, longest) for _ in range(count)]
    return [Sequence(random.randint(1, final), final) for final in finals]


def main() -> None:
    size, longest, block = 2**17, 2048, 16
    ways: dict[str, tuple[Memory, RoomFor]] = {
        "contiguous": (FirstFit(size), contiguous(longest)),
        "buddy": (Buddy(size), buddy),
        "paged": (Blocks(size), paged(block)),
    }
    print("# used   r reserved   i internal   x external   . free")
    for name, (memory, room_for) in ways.items():
        census = fill(memory, in_the_middle(2000, longest), room_for)
        parts = (census.used, census.reserved, census.internal, census.external, census.free)
        bar = "".join(sign * round(60 * part / size) for sign, part in zip("#rix.", parts, strict=True))
        print(f"{name:10}  {census.sequences:5} sequences  {bar}")


if __name__ == "__main__":
    main()
