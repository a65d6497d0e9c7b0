"""Fails test_the_watch_ends_with_the_call: after an error every call of the process is still watched.

Each costs a microsecond more from then on, and the next profile measures the profiler.
"""


def walk(call: Callable[[], object], package: Path) -> list[str]:
    seen: dict[str, None] = {}

    def entered(frame: FrameType, event: str, _: Any) -> None:
        path = Path(frame.f_code.co_filename)
        name = frame.f_code.co_qualname
        if event == "call" and "<" not in name and path.is_relative_to(package):
            seen[f"{path.relative_to(package)}::{name}"] = None

    before = sys.getprofile()
    sys.setprofile(entered)
    call()
    sys.setprofile(before)
    return list(seen)
