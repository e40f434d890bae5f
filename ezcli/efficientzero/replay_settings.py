"""How states are kept and drawn (`hyperparameters`)."""

from typing import Literal

from pydantic import Field

from ezcli.settings import Settings, Share


class ReplaySettings(Settings):
    """Prioritised replay (Schaul et al. 2016); the bounds keep every weight finite in float64."""

    capacity: int = Field(ge=1, description="states kept; an episode of n env_steps holds n + 1")
    priority_exponent: float = Field(ge=0, le=2, description="0: uniform sampling")
    importance_exponent: tuple[Share, Share] = Field(
        strict=False, description="first and last value, linear over training"
    )
    min_priority: float = Field(ge=1e-38, le=1e38, description="added to every |value - target|")
    new_priority: Literal["max", "error", "max-error"] = Field(
        default="max",
        json_schema_extra={"neutral": "max"},
        description="of new states: the largest, their own |value - return| (V2), the larger",
    )
    weight_floor: Share = Field(
        default=0.0,
        json_schema_extra={"neutral": 0.0},
        description="smallest importance weight, where the largest of a batch is 1",
    )
