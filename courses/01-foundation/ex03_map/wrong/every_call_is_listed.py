"""Fails test_each_function_once_in_order_of_entry: a function appears as often as it is called.

A model's step calls a few functions thousands of times, and the twenty lines that matter drown.
"""


def walk(call: Callable[[], object], package: Path) -> list[str]:
    seen = []

    def entered(frame: FrameType, event: str, _: Any) -> None:
        path = Path(frame.f_code.co_filename)
        name = frame.f_code.co_qualname
        if event == "call" and "<" not in name and path.is_relative_to(package):
            seen.append(f"{path.relative_to(package)}::{name}")

    before = sys.getprofile()
    sys.setprofile(entered)
    try:
        call()
    finally:
        sys.setprofile(before)
    return seen
