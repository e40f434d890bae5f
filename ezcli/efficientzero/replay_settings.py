"""Settings of the replay (`hyperparameters`)."""

from typing import Literal

from pydantic import Field

from ezcli.settings import Settings, Share


class ReplaySettings(Settings):
    """Prioritised replay (Schaul et al. 2016); the bounds keep every weight finite in float64."""

    capacity: int = Field(ge=1, description="number of states; an episode of n env_steps has n + 1")
    priority_exponent: float = Field(
        ge=0, le=2, description="exponent of priorities; 0: uniform sampling"
    )
    importance_exponent: tuple[Share, Share] = Field(
        strict=False,
        description="exponent of importance weights: first and last value, linear over training",
    )
    min_priority: float = Field(ge=1e-38, le=1e38, description="added to every |value - target|")
    new_priority: Literal["max", "error", "max-error"] = Field(
        default="max",
        json_schema_extra={"neutral": "max"},
        description="priority of new states: the largest so far, |value - return| (V2), or the "
        "larger of both",
    )
    block_env_steps: int = Field(
        default=0,
        ge=0,
        json_schema_extra={"neutral": 0},
        description="length of the blocks of a game; a block can be drawn once the next one is "
        "full or the game has ended (authors' code: 400); 0: each state can be drawn "
        "once its targets exist",
    )
    weight_floor: Share = Field(
        default=0.0,
        json_schema_extra={"neutral": 0.0},
        description="smallest importance weight, where the largest of a batch is 1",
    )

    def waiting(self, lookahead: int) -> int:
        """env_steps of an episode until its first state may be drawn.

        Args:
          lookahead: env_steps between a state and its last target.
        """
        return 2 * self.block_env_steps or lookahead

    def drawable(self, env_steps: int, lookahead: int) -> int:
        """Number of states that can be drawn from an unfinished episode of `env_steps`."""
        whole = max(0, env_steps - self.waiting(lookahead) + 1)
        if not self.block_env_steps or not whole:
            return whole
        return (env_steps // self.block_env_steps - 1) * self.block_env_steps

    def filled(self, env_steps: int, ages: list[int], lookahead: int) -> int:
        """The quantity that `schedule.random_env_steps` counts. It never decreases.

        Args:
          env_steps: env_steps of the run so far.
          ages: env_steps of the current episode in each environment.
          lookahead: as in `waiting`.

        Returns:
          The env_steps, or with blocks the states that can be drawn, including overwritten ones.
        """
        if not self.block_env_steps:
            return env_steps
        return env_steps - sum(age - self.drawable(age, lookahead) for age in ages)
