"""Checks, before a run begins, that its environment can be trained on."""

import numpy as np

from ezcli.config.run import RunConfig
from ezcli.envs.checked import Checked
from ezcli.envs.make import make_env
from ezcli.envs.suites import suite_of
from ezcli.errors import ConfigError


def require_playable(config: RunConfig) -> list[str]:
    """Refuses an environment that cannot be trained on with this config.

    Returns:
      Advice on the environment, in sentences.

    Raises:
      EzError: it does not exist, breaks its contract, or its observations do not fit the network.
    """
    suite = suite_of(config.env)
    env = make_env(config.env, evaluation=False)
    make_env(config.env, evaluation=True).require_like(env.spec)
    if env.spec.frame_type != "uint8" and config.network.representation != "mlp":
        raise ConfigError(
            "EZ-ENV-VECTOR",
            f"The observations of {env.name!r} are vectors, but network.representation = "
            f"{config.network.representation!r} is for images.",
            """Use --set 'network.representation="mlp"'.""",
        )
    if suite.tried_steps:
        require_repeating(env, make_env(config.env, evaluation=False), suite.tried_steps)
    return suite.advice(config.env)


def require_repeating(one: Checked, other: Checked, env_steps: int) -> None:
    """Plays the same random games in both for `env_steps` env_steps, and compares them.

    Raises:
      EnvError: the games differ.
    """
    rng, played, seed = np.random.default_rng(0), 0, -1
    while played < env_steps:
        seed += 1
        if not np.array_equal(one.reset(seed), other.reset(seed)):
            raise one.not_repeatable("returned another first frame when its game was restarted")
        is_over = False
        while not is_over and played < env_steps:
            action, played = int(rng.integers(len(one.spec.action_names))), played + 1
            first, second = one.step(action), other.step(action)
            if not np.array_equal(first.frame, second.frame) or first[1:] != second[1:]:
                raise one.not_repeatable("behaved differently when its actions were replayed")
            is_over = first.is_game_over
