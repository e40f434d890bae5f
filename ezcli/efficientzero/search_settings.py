"""Which planner serves which purpose, and the numbers of the searches (`hyperparameters`)."""

from typing import Literal

from pydantic import Field
from pydantic.config import JsonDict

from ezcli.settings import LARGEST, Ratio, Settings

PlannerName = Literal["puct"]
PUCT: JsonDict = {"neutral": "puct"}


class PlanningSettings(Settings):
    """Which planner serves which purpose (`components.PLANNERS`)."""

    acting: PlannerName = Field(
        default="puct", json_schema_extra=PUCT, description="planner that collects"
    )
    targets: PlannerName = Field(
        default="puct", json_schema_extra=PUCT, description="planner that gives targets"
    )
    evaluation: PlannerName = Field(
        default="puct", json_schema_extra=PUCT, description="planner that plays for a score"
    )


class SearchSettings(Settings):
    """pUCT over the learned model (MuZero appendix B; EfficientZero appendix A.1)."""

    num_simulations: int = Field(ge=1, description="network calls per root")
    pb_c_init: float = Field(ge=0, le=LARGEST, description="weight of the policy, c1 (MuZero B)")
    pb_c_base: float = Field(ge=1 / LARGEST, description="visits at which c1 has grown, c2")
    min_q_range: float = Field(gt=0, description="smallest divisor of the min-max normalisation")
    prefix_horizon: int = Field(ge=1, description="env_steps; the value prefix restarts after them")
    root_dirichlet_alpha: Ratio = Field(description="of the noise; smaller: on fewer actions")
    root_exploration_fraction: float = Field(ge=0, le=1, description="weight of the root noise")
