"""How rewards add up, and how value targets are made (`hyperparameters`)."""

from typing import Literal

from pydantic import Field

from ezcli.settings import LARGEST, Settings, Share


class ValueSettings(Settings):
    """How rewards add up and how sums become classes (MuZero appendix F)."""

    discount: float = Field(gt=0, le=1, description="per env_step; 0.997 per frame to the 4th")
    support: int = Field(ge=1, description="atoms each side of 0, after the square-root squash")
    td_steps: int = Field(ge=1, description="env_steps before the bootstrap, for fresh data")
    td_age_fraction: float = Field(
        gt=0, le=LARGEST, description="share of schedule.env_steps; age that costs one td_step"
    )
    value_source: Literal["network", "search"] = Field(
        description="bootstrap from the target network (authors' code) or its search (4.3)"
    )
    bootstrap_truncated: bool = Field(
        default=False,
        json_schema_extra={"neutral": False},
        description="a value lies beyond a time limit; published without",
    )
    target: Literal["td", "search", "mixed", "gae"] = Field(
        default="td",
        json_schema_extra={"neutral": "td"},
        description="n-step returns, values of searches, first one then the other (V2), or GAE",
    )
    mixed_from: Share = Field(
        default=0.4,  # EfficientZero V2, table 3: T1 = 4e4 of 1e5
        json_schema_extra={"neutral": 0.4},
        description="of mixed: train_steps before searches, share of those for all env_steps (T1)",
    )
    mixed_newest: Share = Field(
        default=0.2,  # EfficientZero V2, table 3: T2 = 2e4 of 1e5
        json_schema_extra={"neutral": 0.2},
        description="of mixed: newest states, which keep returns, share of env_steps (T2)",
    )
    gae_lambda: Share = Field(
        default=0.95,
        json_schema_extra={"neutral": 0.95},
        description="of gae: weight of each step further ahead",
    )
    gae_steps: int = Field(
        default=15,  # EfficientZero V2, authors' code
        ge=1,
        json_schema_extra={"neutral": 15},
        description="of gae: env_steps that are looked ahead",
    )

    @property
    def lookahead(self) -> int:
        """env_steps that the target of one position looks ahead, at most, L."""
        return self.gae_steps if self.target == "gae" else self.td_steps
