"""Settings of discounting and value targets (`hyperparameters`)."""

from typing import Literal

from pydantic import Field

from ezcli.settings import LARGEST, Settings, Share


class ValueSettings(Settings):
    """Discounting, value targets and the support of categorical outputs (MuZero appendix F)."""

    discount: float = Field(
        gt=0, le=1, description="discount per env_step; 0.997 ** 4 for four frames"
    )
    support: int = Field(ge=1, description="atoms on each side of 0, after the square-root squash")
    td_steps: int = Field(ge=1, description="env_steps before the bootstrap, for new data")
    td_age_fraction: float = Field(
        gt=0,
        le=LARGEST,
        description="age of data that lowers td_steps by 1, as a share of schedule.env_steps",
    )
    value_source: Literal["network", "search"] = Field(
        description="bootstrap from the target network (authors' code) or its search (4.3)"
    )
    bootstrap_truncated: bool = Field(
        default=False,
        json_schema_extra={"neutral": False},
        description="bootstrap from the last state of an episode that a time limit ended; the "
        "published agents do not",
    )
    target: Literal["td", "search", "mixed", "gae"] = Field(
        default="td",
        json_schema_extra={"neutral": "td"},
        description="n-step returns, values of searches, first returns and then searches (mixed, "
        "V2), or GAE",
    )
    mixed_from: Share = Field(
        default=0.4,  # EfficientZero V2, table 3: T1 = 4e4 of 1e5
        json_schema_extra={"neutral": 0.4},
        description="mixed: train_steps before values of searches, as a share of all collecting "
        "train_steps (T1)",
    )
    mixed_newest: Share = Field(
        default=0.2,  # EfficientZero V2, table 3: T2 = 2e4 of 1e5
        json_schema_extra={"neutral": 0.2},
        description="mixed: age up to which states keep returns, as a share of "
        "schedule.env_steps (T2)",
    )
    gae_lambda: Share = Field(
        default=0.95,
        json_schema_extra={"neutral": 0.95},
        description="gae: decay of weights per step",
    )
    gae_steps: int = Field(
        default=15,  # EfficientZero V2, authors' code
        ge=1,
        json_schema_extra={"neutral": 15},
        description="gae: number of env_steps in the sum",
    )

    @property
    def lookahead(self) -> int:
        """Largest number of env_steps between a position and its bootstrap, L."""
        return self.gae_steps if self.target == "gae" else self.td_steps
