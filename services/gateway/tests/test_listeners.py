from __future__ import annotations

from llm_gateway.listeners import Listeners


def test_every_listener_hears_an_event_in_the_order_of_subscription() -> None:
    heard: list[tuple[str, int]] = []
    listeners: Listeners[[int]] = Listeners()
    listeners.emit(1)
    listeners.subscribe(lambda number: heard.append(("first", number)))
    listeners.subscribe(lambda number: heard.append(("second", number)))
    listeners.emit(2)
    assert heard == [("first", 2), ("second", 2)]
