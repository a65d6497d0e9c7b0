"""Fails test_each_slot_of_a_room_is_counted_once: every empty slot of a room counts as internal fragmentation.

Slots for tokens that will come are a loss now, and no loss later: a scheduler that shares them in time gets them back.
The others are lost whatever it does. That is why there are two names.
"""


def split(sequence: Sequence, room: int) -> tuple[int, int, int]:
    return sequence.tokens, 0, room - sequence.tokens
