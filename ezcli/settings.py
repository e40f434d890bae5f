"""The base of every settings model: frozen, strict, and closed to unknown keys."""

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

LARGEST = 2**31  # no setting is a larger integer


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
                raise ValueError(f"{name} must be less than {LARGEST}")
        return self
