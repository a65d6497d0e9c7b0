"""Fails test_other_packages_are_not_walked: a path is in a folder if it begins with the folder's letters.

`llm_engine` then contains `llm_engine_plugins`. Path.is_relative_to compares whole parts.
"""


def walk(call: Callable[[], object], package: Path) -> list[str]:
    seen: dict[str, None] = {}

    def entered(frame: FrameType, event: str, _: Any) -> None:
        path = frame.f_code.co_filename
        name = frame.f_code.co_qualname
        if event == "call" and "<" not in name and path.startswith(str(package)):
            seen[f"{path[len(str(package)) + 1 :]}::{name}"] = None

    before = sys.getprofile()
    sys.setprofile(entered)
    try:
        call()
    finally:
        sys.setprofile(before)
    return list(seen)
