"""All settings of the algorithm, with their units. Their values are in `presets/*.toml`.

There are no defaults here. A run uses exactly the values of its preset. Sources are sections of
EfficientZero (Ye et al., NeurIPS 2021, arXiv:2111.00210) unless another paper is named. One
`env_step` is one action (four frames on Atari), one `train_step` one gradient step.
"""

from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from ezcli.efficientzero.loss_terms import with_coefficients
from ezcli.efficientzero.network_settings import NetworkSettings
from ezcli.efficientzero.replay_settings import ReplaySettings
from ezcli.efficientzero.schedule_settings import ScheduleSettings
from ezcli.efficientzero.search_settings import (
    GumbelSettings,
    OneStepSettings,
    PlanningSettings,
    SearchSettings,
)
from ezcli.efficientzero.value_settings import ValueSettings
from ezcli.settings import LARGEST, DoesNotFit, Near, Settings, divisors

AuxiliaryName = Literal["simsiam", "spr", "contrastive", "reconstruction", "none"]


class Components(Settings):
    """Switches of the paper's three additions to MuZero (section 4)."""

    consistency: bool = Field(description="self-supervised consistency loss (4.1)")
    value_prefix: bool = Field(description="predict sums of rewards, not each reward (4.2)")
    off_policy_correction: bool = Field(description="shorter returns for older data (4.3)")


class ActingSettings(Settings):
    """Choosing actions while collecting (appendix A.1)."""

    num_envs: int = Field(ge=1, description="environments that act in lock step")
    temperatures: tuple[PositiveFloat, ...] = Field(
        min_length=1,
        strict=False,
        description="temperatures of the visit counts, one for each phase",
    )
    temperature_until: tuple[float, ...] = Field(
        strict=False,
        description="end of each phase but the last, as a share of collecting train_steps",
    )

    random_phase: bool = Field(
        default=True,
        json_schema_extra={"neutral": True},
        description="play uniformly until learning begins; otherwise plan from the start (V2)",
    )

    @model_validator(mode="after")
    def _phases_fit(self) -> Self:
        bounds = (0.0, *self.temperature_until, 1.0)
        if len(self.temperatures) != len(self.temperature_until) + 1:
            rule = "temperatures needs one value more than temperature_until"
            temperatures, until = self.temperatures, self.temperature_until
            near = {
                "temperatures": [fitted(temperatures, len(until) + 1, temperatures[-1])],
                "temperature_until": [fitted(until, len(temperatures) - 1, 1.0)],
            }
            raise DoesNotFit(rule, "temperatures", "temperature_until", near=near)
        if any(low > high for low, high in pairwise(bounds)):
            rising = sorted(min(max(0.0, bound), 1.0) for bound in self.temperature_until)
            rule, key = "temperature_until must increase between 0 and 1", "temperature_until"
            raise DoesNotFit(rule, key, near={key: [rising]})
        return self


def fitted(values: tuple[float, ...], length: int, last: float) -> list[float]:
    """The first so many of some values, or all of them and `last` as often as is needed."""
    return [*values, *[last] * length][:length]


class ReanalyseSettings(Settings):
    """Targets recomputed by the target network (MuZero appendix H)."""

    ratio: float = Field(
        ge=0, le=1, description="share of a batch whose policy targets come from a new search"
    )
    memoise: bool = Field(description="search a position once per target network, not at each use")
    roots_per_search: int = Field(ge=1, description="positions searched together")


@with_coefficients
class LossSettings(Settings):
    """The unroll and its losses (equation 5), with a coefficient for each of `LOSSES`."""

    batch_size: int = Field(ge=2, description="windows in one train_step")
    unroll_steps: int = Field(ge=1, description="env_steps the model is unrolled, K")
    auxiliary: AuxiliaryName = Field(
        default="simsiam",
        json_schema_extra={"neutral": "simsiam"},
        description="auxiliary loss of latents (`auxiliary.py`); components.consistency = false "
        "drops it",
    )
    auxiliary_momentum: float = Field(
        default=0.99,
        ge=0,
        lt=1,
        json_schema_extra={"neutral": 0.99},
        description="momentum of the moving average for targets of spr; 0: targets of simsiam",
    )
    latent_gradient: Literal["between-steps", "whole"] = Field(
        default="between-steps",
        json_schema_extra={"neutral": "between-steps"},
        description="gradient that is halved at each unrolled latent: that to the step before "
        "(MuZero), or all of it, including the heads' (authors' code)",
    )
    augmentation: bool = Field(description="random shift and intensity of every observation")
    shift_pixels: int = Field(ge=0, description="pixels; largest shift (DrQ, Yarats et al. 2021)")
    intensity_scale: float = Field(
        ge=0, le=LARGEST, description="standard deviation of the brightness factor"
    )


class OptimiserSettings(Settings):
    """Gradient descent (appendix A.1, table 6)."""

    name: Literal["sgd", "adam"]
    learning_rate: float = Field(
        gt=0, description="learning rate after the warm-up and before the decay"
    )
    momentum: float = Field(ge=0, lt=1, description="SGD momentum; Adam's first beta")
    weight_decay: float = Field(ge=0, description="L2 penalty, added to the gradient")
    warmup_fraction: float = Field(
        ge=0, le=1, description="share of train_steps with linear warm-up from 0"
    )
    decayed_train_steps: int = Field(
        ge=0, description="last train_steps, which use the decayed rate"
    )
    decay_factor: float = Field(
        gt=0, le=1, description="factor of the learning rate for the last train_steps"
    )
    max_gradient_norm: float = Field(
        gt=0,
        description="largest L2 norm of the gradient over all weights; longer ones are clipped",
    )


class Hyperparameters(Settings):
    """All settings of the algorithm."""

    components: Components
    planning: PlanningSettings = Field(
        default=PlanningSettings(), json_schema_extra={"neutral": {}}
    )
    schedule: ScheduleSettings
    network: NetworkSettings
    value: ValueSettings
    search: SearchSettings
    gumbel: GumbelSettings = Field(default=GumbelSettings(), json_schema_extra={"neutral": {}})
    one_step: OneStepSettings = Field(default=OneStepSettings(), json_schema_extra={"neutral": {}})
    acting: ActingSettings
    replay: ReplaySettings
    reanalyse: ReanalyseSettings
    loss: LossSettings
    optimiser: OptimiserSettings

    @property
    def lookahead(self) -> int:
        """env_steps between a state and its last target, K + L."""
        return self.loss.unroll_steps + self.value.lookahead

    @property
    def random_play(self) -> int:
        """env_steps of uniform play; with blocks, states to draw (`ReplaySettings.filled`)."""
        return self.schedule.random_env_steps if self.acting.random_phase else 0

    def guard_rows(self, frame_stack: int) -> int:
        """Number of states of a stream that are about to be overwritten and must not be drawn.

        Batches are drawn up to two cycles before they are used, an env_step writes at most two
        states, and a state without its stacked frames cannot be used.
        """
        return 4 * (self.schedule.env_steps_per_cycle // self.acting.num_envs) + frame_stack

    @model_validator(mode="after")
    def _environments_fill_a_cycle(self) -> Self:
        ahead, rate = "schedule.sample_ahead", "schedule.train_steps_per_env_step"
        cycle = self.schedule.env_steps_per_cycle
        if cycle % self.acting.num_envs:
            rule = f"{ahead} / {rate} = {cycle} must be a multiple of acting.num_envs"
            near: Near = {rate: self.schedule.rates, "acting.num_envs": divisors(cycle)}
            raise DoesNotFit(rule, "acting.num_envs", ahead, rate, near=near)
        return self
