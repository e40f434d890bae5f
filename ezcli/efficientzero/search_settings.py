"""Which planner serves which purpose, and the numbers of the searches (`hyperparameters`)."""

from typing import Literal

from pydantic import Field
from pydantic.config import JsonDict

from ezcli.settings import LARGEST, Ratio, Settings, Share

PlannerName = Literal["puct", "gumbel", "one-step"]
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


class GumbelSettings(Settings):
    """What the planner `gumbel` has of its own (Danihelka et al., ICLR 2022).

    The neutral values are those of EfficientZeroV2 (Wang et al., ICML 2024, table 3, equation 19).
    """

    candidates: int = Field(
        default=8,
        ge=1,
        description="actions that sequential halving begins with, at most",
        json_schema_extra={"neutral": 8},
    )
    candidates_rule: Literal["fixed", "by-actions"] = Field(
        default="fixed",
        description="as set; or 2, from 4 actions on 4, from 16 on 8 (V2's code)",
        json_schema_extra={"neutral": "fixed"},
    )
    c_visit: float = Field(
        default=50.0,
        ge=0,
        le=LARGEST,
        description="weight of Q before the first visit",
        json_schema_extra={"neutral": 50.0},
    )
    c_scale: float = Field(
        default=0.1,
        ge=0,
        le=LARGEST,
        description="factor of that weight, and of each visit of the most visited action",
        json_schema_extra={"neutral": 0.1},
    )
    scaling: Literal["tree", "node"] = Field(
        default="tree",
        description="whose range scales Q to [0, 1] (V2's code: tree; Gumbel MuZero: node)",
        json_schema_extra={"neutral": "tree"},
    )


class OneStepSettings(Settings):
    """What the planner `one-step` has of its own: how often it plays at random."""

    first_epsilon: Share = Field(
        default=1.0,
        description="probability of a random action at the start of collecting",
        json_schema_extra={"neutral": 1.0},
    )
    last_epsilon: Share = Field(
        default=0.05,
        description="the same after the decay, which is linear",
        json_schema_extra={"neutral": 0.05},
    )
    decay_fraction: Share = Field(
        default=0.1,
        description="share of schedule.env_steps that the decay takes",
        json_schema_extra={"neutral": 0.1},
    )
    evaluation_epsilon: Share = Field(
        default=0.001,
        description="probability of a random action in an evaluation",
        json_schema_extra={"neutral": 0.001},
    )
