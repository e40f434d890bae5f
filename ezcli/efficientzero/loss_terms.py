"""The terms of the total loss by name, with descriptions and coefficients.

A new term is an entry here and its function in `loss.TERMS`. Its coefficient, its columns in
metrics and their descriptions follow from the entry. Does not import PyTorch.
"""

from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, Field, create_model

Model = TypeVar("Model", bound=BaseModel)


class Term(NamedTuple):
    """Description of a term."""

    about: str
    # coefficient in runs from before the term; None if all runs have one
    neutral: float | None = None


# In the order in which they are summed.
LOSSES = {
    "value_prefix": Term("value-prefix cross-entropy"),
    "policy": Term("policy cross-entropy"),
    "value": Term("value cross-entropy"),
    "consistency": Term("auxiliary loss of latents (4.1)"),
}
AUXILIARY_TERM = "consistency"
# train_steps in which this term's gradient at the encoder is measured
MEASURED_STEPS, MEASURED_EVERY = 500, 10


def with_coefficients(model: type[Model]) -> type[Model]:
    """The settings with a `<name>_coefficient` for each of LOSSES."""
    fields: dict[str, Any] = {}
    for name, term in LOSSES.items():
        given: dict[str, Any] = {}
        if term.neutral is not None:
            given = {"default": term.neutral, "json_schema_extra": {"neutral": term.neutral}}
        field = Field(ge=0, description=f"weight of the {term.about}", **given)
        fields[f"{name}_coefficient"] = (float, field)
    made: type[Model] = create_model(
        model.__name__, __base__=model, __module__=model.__module__, __doc__=model.__doc__, **fields
    )
    return made
