"""The base of every settings model: frozen, strict, and closed to unknown keys."""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

LARGEST = 2**31  # the largest integer of any setting
# quotient of two integer settings
Ratio = Annotated[float, Field(ge=1 / LARGEST, le=LARGEST)]
Share = Annotated[float, Field(ge=0, le=1)]
Near = Mapping[str, Iterable[Any]]  # values that a setting may have instead, by its key
# largest absolute score of a game; far above any game's, and its powers fit a float
LARGEST_SCORE = 1e15

# Pydantic's errors in terms of a TOML file, by type of error.
SENTENCES = {
    "dict_type": "it must be a table",
    "extra_forbidden": "there is no such setting",
    "list_type": "it must be a list",
    "missing": "it is missing",
    "model_attributes_type": "it must be a table",
    "model_type": "it must be a table",
    "too_long": "it must have at most {max_length} values",
    "too_short": "it must have at least {min_length} values",
    "tuple_type": "it must be a list",
    "union_tag_invalid": "its {discriminator} must be one of {expected_tags}",
    "union_tag_not_found": "it needs a {discriminator}",
}


class DoesNotFit(ValueError):
    """Settings that contradict each other.

    Args:
      message: the rule that they break. It names the settings.
      keys: the settings in the rule, beginning with the one that breaks it; relative to the model
        that has the rule.
      near: by key, values that may satisfy the rule. Names, booleans, integers at a distance of a
        few hundred and bounds are found by a search (`ezcli.config.errors`).
    """

    def __init__(self, message: str, *keys: str, near: Near | None = None) -> None:
        super().__init__(message)
        self.keys = keys
        self.near = dict(near or {})


def divisors(number: int) -> list[int]:
    """All divisors of a positive integer; empty for other numbers."""
    small = [one for one in range(1, math.isqrt(max(0, number)) + 1) if number % one == 0]
    return [*small, *(number // one for one in small)]


def multiples(step: int, number: int) -> tuple[int, int]:
    """The nearest multiples of an integer: the largest up to a number, and the next one."""
    below = number // step * step
    return below, below + step


class Settings(BaseModel):
    """A frozen group of settings. Each field's description gives its unit, a comment its source.

    A field added after a release declares the neutral value, with which a run behaves as before:
    `Field(default=..., json_schema_extra={"neutral": ...})`. A field with its neutral value does
    not enter a run's identity, so that existing identities do not change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _integers_are_small(self) -> Self:
        for name, value in self:
            if isinstance(value, int) and abs(value) >= LARGEST:
                raise DoesNotFit(
                    f"{name} must be less than {LARGEST}", name, near={name: [LARGEST - 1]}
                )
        return self


def why(complaint: Mapping[str, Any]) -> str:
    """The reason of one error in a Pydantic `ValidationError`, as the end of a sentence."""
    context = complaint.get("ctx", {})
    if complaint["type"] == "value_error":
        message = str(context["error"])
    elif complaint["type"] in SENTENCES:
        message = SENTENCES[complaint["type"]].format_map({"discriminator": "", **context})
    else:
        message = complaint["msg"]
    return f"{message[0].lower()}{message[1:]}"
