"""The base of every settings model: frozen, strict, and closed to unknown keys."""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

LARGEST = 2**31  # no setting is a larger integer
Ratio = Annotated[float, Field(ge=1 / LARGEST, le=LARGEST)]  # of two settings that are integers
Share = Annotated[float, Field(ge=0, le=1)]
Near = Mapping[str, Iterable[Any]]  # values that a setting may have instead, by its key
LARGEST_SCORE = 1e15  # of a game, either way; no game's is near it, and its powers stay floats

# What Pydantic says in terms of Python, by the type of its error, in terms of a TOML file.
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
    """Settings that exclude each other.

    Args:
      message: the rule that they break, which names them.
      keys: the settings that the rule is about, the one that breaks it first; relative to the model
        that has the rule.
      near: by key, values that may keep the rule. A search finds those that are a choice of a few
        names, integers within a few hundred, and bounds (`ezcli.config.errors`).
    """

    def __init__(self, message: str, *keys: str, near: Near | None = None) -> None:
        super().__init__(message)
        self.keys = keys
        self.near = dict(near or {})


def divisors(number: int) -> list[int]:
    """All divisors of a positive integer; of others, none."""
    small = [one for one in range(1, math.isqrt(max(0, number)) + 1) if number % one == 0]
    return [*small, *(number // one for one in small)]


def multiples(step: int, number: int) -> tuple[int, int]:
    """The multiples of an integer next to a number: not above it, and above it."""
    below = number // step * step
    return below, below + step


class Settings(BaseModel):
    """A frozen group of numbers; each field's description gives its unit, comments its source.

    A field that is added to a version that has been released says which value means what every run
    before did: `Field(default=..., json_schema_extra={"neutral": ...})`. With that value it does
    not enter the identity of a run, so that no identity changes.
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
    """What one of the errors of a Pydantic `ValidationError` says, as the end of a sentence."""
    context = complaint.get("ctx", {})
    if complaint["type"] == "value_error":
        message = str(context["error"])
    elif complaint["type"] in SENTENCES:
        message = SENTENCES[complaint["type"]].format_map({"discriminator": "", **context})
    else:
        message = complaint["msg"]
    return f"{message[0].lower()}{message[1:]}"
