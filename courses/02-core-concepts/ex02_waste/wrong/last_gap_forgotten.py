"""Fails test_no_slot_has_two_rooms: gaps are looked for between rooms, and not behind the last one.

An empty memory has no room, so it has no gap either: nothing can ever be placed.
"""


class FirstFit:
    def find_gaps(self) -> list[tuple[int, int]]:
        found, at = [], 0
        for first, length in sorted(self.rooms.items()):
            if first > at:
                found.append((at, first - at))
            at = first + length
        return found
