"""Fails test_what_the_gaps_are_worth: if all gaps together would hold the next sequence, they count as free.

60 free slots, 40 wanted, and no place for them: that is what external fragmentation means. A dashboard that shows the
sum says that there is room.
"""


def fill(memory: Memory, sequences: Iterable[Sequence], room_for: RoomFor) -> Census:
    count = used = reserved = internal = wanted = 0
    for sequence in sequences:
        room = room_for(sequence)
        if not memory.place(room):
            wanted = room
            break
        now, later, never = split(sequence, room)
        count, used, reserved, internal = count + 1, used + now, reserved + later, internal + never
    free = sum(memory.gaps)
    external = free if free < wanted else 0
    return Census(count, used, reserved, internal, external, free - external)
