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
    block_env_steps: int = Field(
        default=0,
        ge=0,
        json_schema_extra={"neutral": 0},
        description="of a game; a block of so many may be drawn when the next one is full or the "
        "game has ended (authors' code: 400); 0: each state once its targets exist",
    )
    weight_floor: Share = Field(
        default=0.0,
        json_schema_extra={"neutral": 0.0},
        description="smallest importance weight, where the largest of a batch is 1",
    )

    def waiting(self, lookahead: int) -> int:
        """env_steps of an episode until its first state may be drawn.

        Args:
          lookahead: env_steps that the targets of a state look ahead; they must exist.
        """
        return 2 * self.block_env_steps or lookahead

    def drawable(self, env_steps: int, lookahead: int) -> int:
        """How many states of an episode that goes on after so many env_steps may be drawn."""
        whole = max(0, env_steps - self.waiting(lookahead) + 1)
        if not self.block_env_steps or not whole:
            return whole
        return (env_steps // self.block_env_steps - 1) * self.block_env_steps

    def filled(self, env_steps: int, ages: list[int], lookahead: int) -> int:
        """What `schedule.random_env_steps` counts; it never shrinks.

        Args:
          env_steps: of the run so far.
          ages: env_steps of the episode that goes on in each environment.
          lookahead: as of `waiting`.

        Returns:
          The env_steps, or with blocks the states that may be drawn, overwritten ones included.
        """
        if not self.block_env_steps:
            return env_steps
        return env_steps - sum(age - self.drawable(age, lookahead) for age in ages)
