"""The recipe: what to do to a model, in one frozen object, from a YAML file or from flags.

    method: gptq
    bits: 4
    group_size: 128
    calibration: {samples: 128, length: 512, seed: 0}

Fields that are left out take the method's defaults. An unknown key is an error, and so is a combination that the format
cannot hold; the message names the formats that can.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llm_quantize.algorithms.grid import PER_CHANNEL
from llm_quantize.errors import RecipeError

MethodName = Literal["rtn", "gptq", "awq", "smoothquant", "w8a8", "fp8", "rotation"]
FormatName = Literal["compressed-tensors", "gptq", "awq"]


@dataclass(frozen=True, slots=True)
class Method:
    """A method's defaults and needs."""

    bits: int = 4
    group_size: int = 128
    symmetric: bool = True
    calibrates: bool = True
    inputs: Literal["int8", "fp8"] | None = None
    """Type to which an engine rounds the layers' inputs; such weights have 8 bits and one scale per channel."""


METHODS: dict[str, Method] = {
    "rtn": Method(calibrates=False),
    "gptq": Method(),
    "awq": Method(symmetric=False),
    "rotation": Method(),
    "w8a8": Method(8, PER_CHANNEL, calibrates=False, inputs="int8"),
    "smoothquant": Method(8, PER_CHANNEL, inputs="int8"),
    "fp8": Method(8, PER_CHANNEL, calibrates=False, inputs="fp8"),
}
BITS = {"compressed-tensors": (2, 3, 4, 8), "gptq": (2, 4, 8), "awq": (4,)}
"""Format -> the bits that it packs."""


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Calibration(Settings):
    """The text that the model reads while it is quantised."""

    samples: int = Field(128, ge=1, description="sequences")
    length: int = Field(512, ge=2, description="tokens of a sequence")
    seed: int = Field(0, description="seed of the choice of sequences")
    text: Path | None = Field(None, description="a file, or a folder of .txt, .md and .py; null: Python source")


class Recipe(Settings):
    """How to quantise a model."""

    method: MethodName = Field("gptq", description="the algorithm")
    bits: int = Field(4, description="bits of a weight: 2, 3, 4 or 8")
    group_size: int = Field(128, description="inputs that share a scale; -1: one scale per output channel")
    symmetric: bool = Field(True, description="whether the zero point is fixed in the middle")
    format: FormatName = Field("compressed-tensors", description="the checkpoint's format")
    calibration: Calibration = Field(default_factory=Calibration, description="what the model reads meanwhile")
    ignore: tuple[str, ...] = Field((), description="parts of layers' names that keep 16 bits")
    keep: float = Field(0.0, ge=0, lt=1, description="share of the weights that keeps 16 bits, the most sensitive ones")
    act_order: bool = Field(True, description="GPTQ: round the columns with the largest inputs first")
    damping: float = Field(0.01, gt=0, le=1, description="GPTQ: share of the mean added to the Hessian's diagonal")
    clip_search: bool = Field(True, description="search ranges smaller than a group's own")
    kv_cache: Literal["fp8"] | None = Field(None, description="calibrate scales of an FP8 KV cache")

    @property
    def inputs(self) -> str | None:
        """Type to which an engine rounds the layers' inputs: int8, fp8, or None for 16 bits."""
        return METHODS[self.method].inputs

    @property
    def calibrates(self) -> bool:
        """Whether text is needed."""
        return METHODS[self.method].calibrates or self.keep > 0 or self.kv_cache is not None

    @model_validator(mode="before")
    @classmethod
    def _take_defaults(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("method", "gptq") not in METHODS:
            return given
        method = METHODS[given.get("method", "gptq")]
        defaults = {"bits": method.bits, "group_size": method.group_size, "symmetric": method.symmetric}
        if given.get("format") == "gptq":
            defaults["symmetric"] = True
        elif given.get("format") == "awq":
            defaults["symmetric"] = False
        return defaults | {name: value for name, value in given.items() if value is not None}

    @model_validator(mode="after")
    def _check(self) -> Self:
        method = METHODS[self.method]
        if self.group_size < 1 and self.group_size != PER_CHANNEL:
            raise ValueError(f"group_size is {self.group_size}; give a number of inputs, or -1 for whole channels")
        wanted = (method.bits, method.group_size, method.symmetric, "compressed-tensors")
        if method.inputs and (self.bits, self.group_size, self.symmetric, self.format) != wanted:
            raise ValueError(
                f"{self.method} makes symmetric 8-bit weights with one scale per channel in the format "
                "compressed-tensors; leave out bits, group_size, symmetric and format"
            )
        for problem, holders in self._misfits():
            can = f"{' and '.join(holders)} can" if holders else "no format can: bits are 2, 3, 4 or 8"
            raise ValueError(f"the format {self.format} {problem}; {can}")
        return self

    def _misfits(self) -> Iterator[tuple[str, list[str]]]:
        """Yield what the format cannot hold, and the formats that can."""
        if self.bits not in BITS[self.format]:
            yield f"has no {self.bits} bits", [name for name, bits in BITS.items() if self.bits in bits]
        if self.format == "gptq" and not self.symmetric:
            yield "holds symmetric weights only", ["compressed-tensors", "awq"]
        if self.format == "awq" and self.symmetric:
            yield "holds asymmetric weights only", ["compressed-tensors", "gptq"]
        if self.format == "gptq" and (self.keep or self.ignore):
            yield "cannot leave layers in 16 bits", ["compressed-tensors", "awq"]
        if self.format != "compressed-tensors" and self.kv_cache:
            yield "has no KV cache scales", ["compressed-tensors"]


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in a YAML file. RecipeError if there is none, or it is wrong."""
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path} cannot be read as a recipe: {error}") from None
    if not isinstance(given, dict):
        raise RecipeError(f"{path} is no recipe: it must hold keys such as `method: gptq`")
    return make_recipe(**given)


def make_recipe(**given: Any) -> Recipe:
    """Return the recipe with these fields. RecipeError, in one line, if they are wrong."""
    try:
        return Recipe.model_validate(given)
    except ValidationError as error:
        raise RecipeError("; ".join(map(_describe, error.errors()))) from None


def _describe(error: Any) -> str:
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"recipe: there is no key {where}; keys: {', '.join(Recipe.model_fields)}"
    message = error["msg"].removeprefix("Value error, ")
    return f"recipe: {where + ': ' if where else ''}{message}"
