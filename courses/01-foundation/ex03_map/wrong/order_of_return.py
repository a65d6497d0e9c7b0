"""Fails test_each_function_once_in_order_of_entry: functions are noted when they return.

The innermost comes first then, and `LLM.generate` last. It is a map read from the end.
"""


def walk(call: Callable[[], object], package: Path) -> list[str]:
    seen: dict[str, None] = {}

    def left(frame: FrameType, event: str, _: Any) -> None:
        path = Path(frame.f_code.co_filename)
        name = frame.f_code.co_qualname
        if event == "return" and "<" not in name and path.is_relative_to(package):
            seen.setdefault(f"{path.relative_to(package)}::{name}")

    before = sys.getprofile()
    sys.setprofile(left)
    try:
        call()
    finally:
        sys.setprofile(before)
    return list(seen)
