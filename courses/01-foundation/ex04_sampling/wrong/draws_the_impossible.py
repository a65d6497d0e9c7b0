"""Fails test_a_draw_follows_the_number: the search stops at the first sum that reaches the number, not past it.

A number that falls on a border draws the token before it, and a row that begins with a masked token can draw that.
"""


def draw(chances: Row, uniform: float) -> int:
    cumulative = np.cumsum(chances)
    return int(np.searchsorted(cumulative, uniform * cumulative[-1], side="left"))
