"""Environments of Gymnasium, by id.

Each game is played in a new environment, so that it does not depend on earlier games: some
environments keep the last action or a random generator. The wrapper does not stack, skip or resize
frames.
"""

import difflib
import importlib
import importlib.metadata
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from enum import Enum
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from ezcli.envs.checked import SHOWS, guarded
from ezcli.envs.code import versions
from ezcli.envs.custom import load_module
from ezcli.envs.gym_suite import GymSettings
from ezcli.envs.protocol import EnvSpec, Step
from ezcli.envs.restored import restored
from ezcli.errors import ConfigError, EnvError

if TYPE_CHECKING:
    import gymnasium

GROUP = "gymnasium.envs"  # entry points of packages that register environments
ROOTS = ("__root__", "__internal__")  # names of entry points without a namespace
# Start of the ids of a package, its module, its distribution.
PACKAGES = (
    ("MiniGrid-", "minigrid", "minigrid"),
    ("BabyAI-", "minigrid", "minigrid"),
    ("ALE/", "ale_py", "ale-py"),
    ("MinAtar/", "minatar", "'ezcli[minatar]'"),
)


class GymEnv:
    """A Gymnasium environment. `gym_spaces` converts frames and actions."""

    def __init__(self, settings: GymSettings, evaluation: bool) -> None:
        spec = spec_of(settings)  # first, because it raises the error if Gymnasium is not installed
        from ezcli.envs import gym_spaces

        self.make: Callable[[], gymnasium.Env[Any, Any]] = lambda: made(spec)
        self.env, self.is_used = self.make(), False
        self.view = gym_spaces.view_of(
            self.env.observation_space, spec.id, settings.observation_key, settings.channel_axis
        )
        count, self.first_action = gym_spaces.num_actions(self.env.action_space, spec.id)
        contract = {
            "name": settings.name,
            "id": spec.id,
            **self.view.contract(),
            "own_max_episode_steps": spec.max_episode_steps,
            "max_episode_steps": settings.cap(evaluation),
            "versions": versions_of(type(self.env.unwrapped).__module__.partition(".")[0]),
        }
        self.spec = EnvSpec(
            self.view.frame_shape,
            action_names(self.env.unwrapped, count),
            contract,
            "float32" if self.view.kind == "vector" else "uint8",
        )

    def reset(self, seed: int) -> np.ndarray:
        """Starts a new game in a new environment."""
        if self.is_used:
            self.env.close()
            self.env = self.make()
        self.is_used = True
        with quiet():
            observation, _ = self.env.reset(seed=seed)
        return self.view.frame(observation)

    def step(self, action: int) -> Step:
        """Plays one step. A terminated game is not truncated."""
        observation, reward, terminated, truncated, _ = self.env.step(action + self.first_action)
        is_over, frame = bool(terminated or truncated), self.view.frame(observation)
        return Step(frame, float(reward), is_over, is_over, bool(truncated and not terminated))


def spec_of(settings: GymSettings) -> "gymnasium.envs.registration.EnvSpec":
    """The spec of an id in Gymnasium, after its package has registered it.

    Raises:
      EzError: Gymnasium or the package is not installed, or there is no such id.
    """
    try:
        import gymnasium
    except ModuleNotFoundError as error:
        if error.name != "gymnasium":
            raise
        raise no_package(
            f"--env gym:{settings.target}", "Gymnasium", "'ezcli[gymnasium]'"
        ) from error
    if settings.module:
        with quiet():
            load_module(settings.target, settings.code)
    for register in () if settings.module else (register_family, register_all):
        if settings.env_id not in gymnasium.registry:
            register(settings.env_id)
    found = gymnasium.registry.get(settings.env_id)
    if found is None:
        raise unknown_id(settings.env_id)
    return found


def unknown_id(env_id: str) -> ConfigError:
    """The error about an unknown id, with the most similar ids."""
    import gymnasium

    near = difflib.get_close_matches(env_id, gymnasium.registry, n=5)
    guess = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    return ConfigError(
        "EZ-UNKNOWN-ID-OF-GYMNASIUM",
        f"Unknown id of Gymnasium {env_id!r}.",
        f"{guess}If your own module registers it: --env gym:MODULE:ID",
    )


def register_family(env_id: str) -> None:
    """Registers the ids of the package that an id belongs to, by its prefix.

    Raises:
      EzError: the package is not installed, or fails.
    """
    for start, module, distribution in PACKAGES:
        if env_id.startswith(start):
            if find_spec(module) is None:
                raise no_package(f"gym:{env_id}", f"the package {module}", distribution)
            register_package(module)
    for point in importlib.metadata.entry_points(group=GROUP):
        if env_id.startswith(f"{point.name}/"):
            register_point(point)


def register_all(env_id: str) -> None:
    """Registers the ids of all installed packages."""
    for module in {module for _, module, _ in PACKAGES}:
        if find_spec(module) is not None:
            register_package(module)
    for point in importlib.metadata.entry_points(group=GROUP):
        register_point(point)


def register_package(module: str) -> None:
    """Imports a package that registers its ids on import."""
    with blamed(module), quiet():
        importlib.import_module(module)


def register_point(point: importlib.metadata.EntryPoint) -> None:
    """Calls the function of an entry point, which is named after a namespace of ids."""
    from gymnasium.envs.registration import namespace

    with blamed(point.value), quiet():
        space = nullcontext() if point.name in ROOTS else namespace(point.name)
        with space:
            point.load()()


def made(spec: "gymnasium.envs.registration.EnvSpec") -> "gymnasium.Env[Any, Any]":
    """Makes a new environment without Gymnasium's checker, because we check every step ourselves.

    Raises:
      EnvError: something that it needs is not installed.
    """
    import gymnasium

    try:
        with quiet():
            return gymnasium.make(spec, disable_env_checker=True)
    except gymnasium.error.DependencyNotInstalled as error:
        raise EnvError(
            "EZ-ENV-DEPENDENCY", f"{spec.id!r} needs a package that is not installed.", str(error)
        ) from error


def no_package(what: str, package: str, distribution: str) -> ConfigError:
    """The error about a package that is not installed."""
    return ConfigError(
        "EZ-ENV-DEPENDENCY",
        f"{what} needs {package}, which is not installed.",
        f"Install it: pip install {distribution}",
    )


@contextmanager
def blamed(module: str) -> Iterator[None]:
    """Attributes exceptions during registration to the package."""
    with (
        guarded(
            lambda told: EnvError(
                "EZ-ENV-NOT-LOADED", f"Module {module!r} cannot be loaded: {told}.", SHOWS
            )
        ),
        restored(),
    ):
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Hides packages' warnings about deprecation and missing rendering."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@cache
def versions_of(package: str) -> dict[str, str]:
    """Versions of Gymnasium and of the package that an environment comes from."""
    return versions("gymnasium") | versions(package)


def action_names(env: Any, count: int) -> tuple[str, ...]:
    """The environment's names of actions, or else their numbers."""
    names: Any = getattr(env, "action_names", None) or getattr(env, "actions", None)
    if callable(getattr(env, "get_action_meanings", None)):
        names = env.get_action_meanings()
    if isinstance(names, type) and issubclass(names, Enum):
        names = [one.name for one in names]
    if isinstance(names, list | tuple) and len(names) == count:
        return tuple(str(name).lower() for name in names)
    return tuple(map(str, range(count)))


def advice(settings: GymSettings) -> list[str]:
    """Advice before a run on an id."""
    spec = spec_of(settings)
    if not str(spec.entry_point).startswith("ale_py"):
        return []
    skipped, sticky = spec.kwargs["frameskip"], spec.kwargs["repeat_action_probability"]
    played = "a random number of frames"
    if isinstance(skipped, int):
        played = f"{skipped} frame{'s' * (skipped != 1)}"
    return [
        f"{spec.id} does not follow the benchmark's protocol, unlike --game "
        f"{spec.kwargs['game']}: it plays {played} per action, repeats the last action with "
        f"probability {sticky:g}, and has frames of full size and colour. Scores are not "
        "comparable."
    ]
