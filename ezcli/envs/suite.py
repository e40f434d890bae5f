"""The interface of a suite, a family of environments, for the rest of ezcli.

A suite's own file (`atari_suite`, `small_suites`, `custom_suite`) has its settings and this value.
`suites` registers it. Nothing outside these files depends on the name of a suite. They are loaded
with every config, so importing them loads no emulator, no NumPy and no environment.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from ezcli.envs.settings import EnvSettings

REINSTALL = "Install again: `make clean setup`, or as in README.md with --force-reinstall."


class Check(NamedTuple):
    """One line of `ez doctor`."""

    name: str
    ok: bool  # False only if training cannot run
    detail: str  # the result in words
    remedy: str  # the remedy; empty if there is nothing to do


class OwnCode(NamedTuple):
    """The code of a user's own environment."""

    target: str  # `file.py:Class` or `module:Class`
    code: Mapping[str, str]  # result of `ezcli.envs.code.code_of`; empty if not known


class DefaultPreset(NamedTuple):
    """The default preset."""

    gpu: str
    cpu: str
    because: str = ""  # the reason, if both are the same


class Games(NamedTuple):
    """The games of a suite with several. Its settings have the name of one, `game`."""

    known: Callable[[], tuple[str, ...]]  # all of them; may load an emulator
    sets: Mapping[str, tuple[str, ...]]  # names of sets for `--games`
    essence: Callable[[str, tuple[str, ...]], str]  # removes decoration from a name


class Reference(NamedTuple):
    """Two raw scores of one game that define its scale."""

    zero: float  # the raw score that becomes 0
    one: float  # the raw score that becomes 1

    def normalised(self, score: float) -> float:
        """The normalised score."""
        return (score - self.zero) / (self.one - self.zero)


class Learnt(NamedTuple):
    """The number of env_steps after which a game is known to be learnt."""

    env_steps: int
    what: str  # the measurement, in words


class Normalisation(NamedTuple):
    """The scale on which a benchmark averages over games."""

    name: str  # adjective of a score on it, such as `human-normalised`
    zero: str  # the agent with score 0
    one: str  # the agent with score 1

    @property
    def key(self) -> str:
        """The name for programs, such as `human_normalised`."""
        return self.name.lower().replace("-", "_")


class Benchmark(NamedTuple):
    """Games whose normalised scores are averaged and compared with published agents.

    Games have the label of their suite.
    """

    title: str
    games: tuple[str, ...]
    normalisation: Normalisation
    references: Callable[[], Mapping[str, Reference]]  # by game, possibly including other games
    rules: str  # the rules of `follows_rules`, in words
    follows_rules: Callable[[Any, Iterable[int], int], bool]
    """Whether games were played as in the benchmark: of the settings, the env_steps of each game,
    and the env_steps at which games were cut off."""
    published: str = ""  # name of the tables in `ezcli/reports` with scores of other agents
    against: tuple[str, ...] = ()  # published agents that a report shows by default
    likenesses: Mapping[str, str] = MappingProxyType({})
    """The published agent that a preset follows, by preset. Reports show it beside its runs."""
    budgets: tuple[int, ...] = ()
    """Budgets in frames (= env_steps) with published scores, if there are several. Averages use
    the largest budget."""
    has_rules: Callable[[Any], bool] = lambda env: True
    """Whether the settings have the rules under which its scores are published."""
    subsets: Mapping[frozenset[str], str] = MappingProxyType({})
    """How well scores of some of its games predict the score over all, in words."""
    otherwise: "Benchmark | None" = None  # benchmark for other games and rules


@dataclass(frozen=True)
class Suite:
    """A family of environments. Functions take the suite's settings, unless they say otherwise."""

    name: str  # value of `env.name`
    settings: type[EnvSettings]
    builder: Callable[[Any], type]  # the class of the environment; imports its module
    title: str  # in sentences
    preset: DefaultPreset
    preset_of: Callable[[Mapping[str, Any]], DefaultPreset] | None = None
    """The preset for a table `env`, if it depends on the environment, which may be loaded."""
    presets: tuple[str, ...] = ()  # the only suitable presets; empty if all are suitable
    label: Callable[[Any], str] = lambda env: str(env.name)  # the game in names and tables
    mark: str = ""  # suffix of labels that could belong to another suite
    takes: str = ""  # values of `--env` instead of the name, in words
    prefix: str = ""  # prefix of `--env` values of this suite
    tables: Callable[[str], dict[str, Any] | None] = lambda text: None
    """The table `env` for a value of `--env` other than the suite's name; None for other suites."""
    played: tuple[str, ...] = ()  # settings of the task; equal in all arms of a study
    require: Callable[[Any], None] = lambda env: None
    """Refuses settings of an environment that is not installed, without executing a user's code."""
    games: Games | None = None
    benchmark: Benchmark | None = None
    landmarks: Callable[[Any], Mapping[str, float]] = lambda env: {}
    """Raw scores for comparison by their source, such as random play and the maximum."""
    score_range: Callable[[Any], tuple[float, float]] = lambda env: (-math.inf, math.inf)
    """The lowest and the highest raw score of a game, if known from the rules."""
    learnt: Callable[[Any], Learnt | None] = lambda env: None
    """The length that the suite's presets, or published agents, were measured to need."""
    own_code: Callable[[Any], OwnCode | None] = lambda env: None
    installed: tuple[str, ...] = ()  # entries of a contract that do not depend on settings
    seeds: int = 5  # default seeds of a study
    frame_bytes: Callable[[Any], int] = lambda env: 1024  # approximate size of one frame
    fps: Callable[[Any], int] = lambda env: 4  # env_steps a second, in a film
    tried_steps: int = 0
    """env_steps to play twice before a run, to check that games are repeatable."""
    advice: Callable[[Any], list[str]] = lambda env: []  # advice before a run
    check: Callable[[], Check] | None = None  # checks of what the suite needs on the machine
