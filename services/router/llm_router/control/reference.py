"""All settings of a configuration's `args`, as tables for the README: python -m llm_router.control.reference"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from llm_report.markdown import table
from llm_router.control.edge.settings import EdgeAppSettings
from llm_router.settings import EnginesSettings


def rows(settings: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield name, default and description of each field; fields of a nested model have its name in front."""
    for name, field in settings.model_fields.items():
        nested = [one for one in (field.annotation, *get_args(field.annotation)) if _is_model(one)]
        if field.description:
            yield f"`{prefix}{name}`", _shown_default(field), field.description
        for model in nested:
            yield from rows(model, f"{prefix}{name}.")


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _shown_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return "" if field.default is None else str(field.default)


def main() -> None:
    for of, settings in (("the engines of one model", EnginesSettings), ("the edge", EdgeAppSettings)):
        print(f"`args` of {of}:\n\n{table(('Setting', 'Default', ''), rows(settings), left=3)}\n")


if __name__ == "__main__":
    main()
