"""Settings of planners and searches (`hyperparameters`)."""

from typing import Literal

from pydantic import Field
from pydantic.config import JsonDict

from ezcli.settings import LARGEST, Ratio, Settings, Share

PlannerName = Literal["puct", "gumbel", "one-step"]
PUCT: JsonDict = {"neutral": "puct"}


class PlanningSettings(Settings):
    """The planner for each purpose (`components.PLANNERS`)."""

    acting: PlannerName = Field(
        default="puct", json_schema_extra=PUCT, description="planner that collects experience"
    )
    targets: PlannerName = Field(
        default="puct",
        json_schema_extra=PUCT,
        description="planner that makes policy and value targets",
    )
    evaluation: PlannerName = Field(
        default="puct", json_schema_extra=PUCT, description="planner that plays evaluations"
    )


class SearchSettings(Settings):
    """pUCT over the learned model (MuZero appendix B; EfficientZero appendix A.1)."""

    num_simulations: int = Field(ge=1, description="network calls per root")
    pb_c_init: float = Field(ge=0, le=LARGEST, description="weight of the policy, c1 (MuZero B)")
    pb_c_base: float = Field(
        ge=1 / LARGEST,
        description="c2, scale of visits at which the weight of the policy grows (MuZero B)",
    )
    min_q_range: float = Field(gt=0, description="smallest divisor of the min-max normalisation")
    prefix_horizon: int = Field(ge=1, description="env_steps after which the value prefix restarts")
    root_dirichlet_alpha: Ratio = Field(
        description="concentration of the Dirichlet noise; smaller values favour fewer actions"
    )
    root_exploration_fraction: float = Field(ge=0, le=1, description="weight of the root noise")


class GumbelSettings(Settings):
    """Settings of the planner `gumbel` (Danihelka et al., ICLR 2022).

    The neutral values are those of EfficientZero V2 (Wang et al., ICML 2024, table 3, equation 19).
    """

    candidates: int = Field(
        default=8,
        ge=1,
        description="largest number of actions at the start of sequential halving",
        json_schema_extra={"neutral": 8},
    )
    candidates_rule: Literal["fixed", "by-actions"] = Field(
        default="fixed",
        description="fixed: as set; by-actions: 2, or 4 from 4 actions, or 8 from 16 actions "
        "(V2's code)",
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
        description="range that scales Q to [0, 1]: tree (V2's code) or node (Gumbel MuZero)",
        json_schema_extra={"neutral": "tree"},
    )


class OneStepSettings(Settings):
    """Settings of the planner `one-step`: probabilities of random actions."""

    first_epsilon: Share = Field(
        default=1.0,
        description="probability of a random action at the start of collection",
        json_schema_extra={"neutral": 1.0},
    )
    last_epsilon: Share = Field(
        default=0.05,
        description="probability of a random action after the linear decay",
        json_schema_extra={"neutral": 0.05},
    )
    decay_fraction: Share = Field(
        default=0.1,
        description="length of the decay, as a share of schedule.env_steps",
        json_schema_extra={"neutral": 0.1},
    )
    evaluation_epsilon: Share = Field(
        default=0.001,
        description="probability of a random action in an evaluation",
        json_schema_extra={"neutral": 0.001},
    )
