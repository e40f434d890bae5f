"""What is looked at before a run begins: whether its environment can be trained on at all."""

import numpy as np

from ezcli.config.run import RunConfig
from ezcli.envs.checked import Checked
from ezcli.envs.make import make_env
from ezcli.envs.suites import suite_of
from ezcli.errors import ConfigError


def require_playable(config: RunConfig) -> list[str]:
    """Refuses an environment that cannot be trained on with this config.

    Returns:
      What the user should know of the environment, in sentences.

    Raises:
      EzError: there is none, it breaks its contract, or its observations do not fit the network.
    """
    suite = suite_of(config.env)
    env = make_env(config.env, evaluation=False)
    make_env(config.env, evaluation=True).require_like(env.spec)
    if env.spec.frame_type != "uint8" and config.network.representation != "mlp":
        raise ConfigError(
            "EZ-ENV-VECTOR",
            f"Environment {env.name!r} shows vectors, and network.representation = "
            f"{config.network.representation!r} is for images.",
            """Use --set 'network.representation="mlp"'.""",
        )
    if suite.tried_steps:
        require_repeating(env, make_env(config.env, evaluation=False), suite.tried_steps)
    return suite.advice(config.env)


def require_repeating(one: Checked, other: Checked, env_steps: int) -> None:
    """Plays the same games in both, at random, for so many env_steps.

    Raises:
      EnvError: they differ.
    """
    rng, played, seed = np.random.default_rng(0), 0, -1
    while played < env_steps:
        seed += 1
        if not np.array_equal(one.reset(seed), other.reset(seed)):
            raise one.not_repeatable("showed another first frame when its game was started again")
        is_over = False
        while not is_over and played < env_steps:
            action, played = int(rng.integers(len(one.spec.action_names))), played + 1
            first, second = one.step(action), other.step(action)
            if not np.array_equal(first.frame, second.frame) or first[1:] != second[1:]:
                raise one.not_repeatable("went another way when its actions were played again")
            is_over = first.is_game_over
