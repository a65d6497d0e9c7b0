"""Fails test_only_buddies_grow_together: a gap grows with any neighbour of its length.

The gap that results begins at a slot that is no multiple of its length. From then on `s ^ n` names a piece that never
was its other half, and the memory does not come back together.
"""


class Buddy:
    def release(self, first: int) -> None:
        length = self.rooms.pop(first)
        while True:
            if self.free.get(first + length) == length:
                del self.free[first + length]
            elif self.free.get(first - length) == length:
                del self.free[first - length]
                first -= length
            else:
                break
            length *= 2
        self.free[first] = length
