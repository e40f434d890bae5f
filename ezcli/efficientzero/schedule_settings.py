"""Settings of the length of a run and of how collecting and learning interleave."""

import math
from typing import Self

from pydantic import Field, model_validator

from ezcli.settings import DoesNotFit, Near, Ratio, Settings, divisors, multiples


class ScheduleSettings(Settings):
    """Amounts of data and training, and how they interleave (appendix A.1)."""

    env_steps: int = Field(ge=1, description="env_steps collected in the whole run")
    random_env_steps: int = Field(
        ge=1,
        description="env_steps before learning, played uniformly with acting.random_phase; with "
        "replay.block_env_steps, states that may be drawn",
    )
    train_steps_per_env_step: Ratio = Field(
        description="train_steps per env_step during collection"
    )
    final_train_steps: int = Field(ge=0, description="train_steps after the last env_step")
    acting_update_interval: int = Field(
        ge=1, description="train_steps between updates of the acting weights"
    )
    target_update_interval: int = Field(
        ge=1, description="train_steps that a target network is used"
    )
    sample_ahead: int = Field(ge=1, description="train_steps whose batches are drawn together")

    @property
    def env_steps_per_cycle(self) -> int:
        """env_steps collected for each `sample_ahead` train_steps."""
        return round(self.sample_ahead / self.train_steps_per_env_step)

    @property
    def rates(self) -> list[float]:
        """Values of `train_steps_per_env_step` for which a run is a whole number of cycles."""
        return [self.sample_ahead / cycle for cycle in divisors(self.env_steps)]

    @property
    def near_lengths(self) -> Near:
        """Values for which a run consists of whole cycles, at least one with train_steps."""
        cycle = max(1, self.env_steps_per_cycle)
        least = self.random_env_steps + cycle
        return {
            "env_steps": [*multiples(cycle, self.env_steps), *multiples(cycle, least)],
            "random_env_steps": [self.env_steps, self.env_steps - cycle],
            "train_steps_per_env_step": self.rates,
        }

    @property
    def collecting_train_steps(self) -> int:
        """train_steps made while experience is collected."""
        per_cycle = self.env_steps_per_cycle
        cycles = self.env_steps // per_cycle - math.ceil(self.random_env_steps / per_cycle)
        return cycles * self.sample_ahead

    @property
    def train_steps(self) -> int:
        """train_steps of the whole run: those while collecting plus the final ones."""
        return self.collecting_train_steps + self.final_train_steps

    @model_validator(mode="after")
    def _intervals_align(self) -> Self:
        ahead, cycle = self.sample_ahead, self.env_steps_per_cycle
        for name in ("acting_update_interval", "target_update_interval", "final_train_steps"):
            if getattr(self, name) % ahead:
                rule = f"{name} must be a multiple of sample_ahead = {ahead}"
                aligned: Near = {
                    name: multiples(ahead, getattr(self, name)),
                    "sample_ahead": divisors(getattr(self, name)),
                }
                raise DoesNotFit(rule, name, "sample_ahead", near=aligned)
        if abs(cycle * self.train_steps_per_env_step - ahead) > 1e-9:
            rule = f"train_steps_per_env_step must divide sample_ahead = {ahead}"
            raise DoesNotFit(
                rule, "train_steps_per_env_step", "sample_ahead", near=self.near_lengths
            )
        if self.env_steps % cycle:
            rule = f"env_steps must be a multiple of {cycle}"
            keys = ("env_steps", "sample_ahead", "train_steps_per_env_step")
            raise DoesNotFit(rule, *keys, near=self.near_lengths)
        if self.random_env_steps > self.env_steps:
            rule = "random_env_steps cannot exceed env_steps"
            raise DoesNotFit(rule, "random_env_steps", "env_steps", near=self.near_lengths)
        return self
