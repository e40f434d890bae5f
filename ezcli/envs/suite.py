"""A suite: a family of environments, as one value that answers all that the rest of ezcli asks.

A suite's own file (`atari_suite`, `small_suites`, `custom_suite`) holds its settings and this
value; `suites` registers it. Nothing outside these files asks for the name of a suite. They are
loaded with every config, so they import no emulator, no NumPy and no environment on loading.
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
    detail: str  # what was found
    remedy: str  # what to do about it; empty if nothing


class OwnCode(NamedTuple):
    """The code of a user's own environment."""

    target: str  # `file.py:Class` or `module:Class`
    code: Mapping[str, str]  # as `ezcli.envs.code.code_of` gives it; empty if it is not known


class DefaultPreset(NamedTuple):
    """The preset of who names none."""

    gpu: str
    cpu: str
    because: str = ""  # why it is the one, where both are the same


class Games(NamedTuple):
    """The games of a suite that has several; its settings hold the name of one, `game`."""

    known: Callable[[], tuple[str, ...]]  # all of them; may load an emulator
    sets: Mapping[str, tuple[str, ...]]  # what `--games` takes
    essence: Callable[[str, tuple[str, ...]], str]  # the part of a name that names one of them


class Reference(NamedTuple):
    """Two raw scores of one game that put others on a scale."""

    zero: float  # the raw score that becomes 0
    one: float  # the raw score that becomes 1

    def normalised(self, score: float) -> float:
        """A raw score on the scale."""
        return (score - self.zero) / (self.one - self.zero)


class Learnt(NamedTuple):
    """After how many env_steps a game is known to be learnt."""

    env_steps: int
    what: str  # was measured then, in words


class Normalisation(NamedTuple):
    """The scale on which a benchmark averages over games."""

    name: str  # of a score on it, such as `human-normalised`
    zero: str  # whose score is 0
    one: str  # whose score is 1

    @property
    def key(self) -> str:
        """The name for programs, such as `human_normalised`."""
        return self.name.lower().replace("-", "_")


class Benchmark(NamedTuple):
    """Games whose normalised scores are averaged, and compared with those of published agents.

    Games go by the label of their suite.
    """

    title: str
    games: tuple[str, ...]
    normalisation: Normalisation
    references: Callable[[], Mapping[str, Reference]]  # by game; of more games than these, perhaps
    rules: str  # what `follows_rules` asks for, in words
    follows_rules: Callable[[Any, Iterable[int], int], bool]
    """Whether games were played as in the benchmark: of the settings, the env_steps of each game,
    and the env_steps at which games were cut off."""
    published: str = ""  # name of the tables in `ezcli/reports` with scores of other agents
    against: tuple[str, ...] = ()  # published agents that a report shows unless others are named
    likenesses: Mapping[str, str] = MappingProxyType({})
    """The published agent that a preset follows, by the preset; it stands beside its runs too."""
    budgets: tuple[int, ...] = ()
    """Frames after which published scores are known, where there are several; a frame is an
    env_step. Averages take those after the most frames."""
    has_rules: Callable[[Any], bool] = lambda env: True
    """Whether the settings have the rules under which its scores are published."""
    subsets: Mapping[frozenset[str], str] = MappingProxyType({})
    """What is known of how well the scores of some of its games tell that of all, in words."""
    otherwise: "Benchmark | None" = None  # that of other games, and of other rules


@dataclass(frozen=True)
class Suite:
    """A family of environments. Functions take the suite's settings, unless they say otherwise."""

    name: str  # as `env.name` has it
    settings: type[EnvSettings]
    builder: Callable[[Any], type]  # the class of the environment; imports its module
    title: str  # in sentences
    preset: DefaultPreset
    preset_of: Callable[[Mapping[str, Any]], DefaultPreset] | None = None
    """The preset for a table `env`, where it depends on the environment; may load it."""
    presets: tuple[str, ...] = ()  # the only ones that fit; none: the settings fit any preset
    label: Callable[[Any], str] = lambda env: str(env.name)  # what is played, in names and tables
    mark: str = ""  # behind the label, where labels could be those of another suite
    takes: str = ""  # what `--env` takes instead of the name, in words
    prefix: str = ""  # how an `--env` of this suite starts; nothing else starts so
    tables: Callable[[str], dict[str, Any] | None] = lambda text: None
    """The table `env` that an `--env` other than the suite's name means; None: another suite's."""
    played: tuple[str, ...] = ()  # settings that say what is played; equal in all arms of a study
    require: Callable[[Any], None] = lambda env: None
    """Refuses settings of an environment that is not installed; executes no code of the user's."""
    games: Games | None = None
    benchmark: Benchmark | None = None
    landmarks: Callable[[Any], Mapping[str, float]] = lambda env: {}
    """Raw scores that tell how good others are, by whose they are: random play's, the maximum."""
    score_range: Callable[[Any], tuple[float, float]] = lambda env: (-math.inf, math.inf)
    """The lowest and the highest raw score of a game, where the rules give them."""
    learnt: Callable[[Any], Learnt | None] = lambda env: None
    """What the suite's own presets were measured to need, or its scores are published for."""
    own_code: Callable[[Any], OwnCode | None] = lambda env: None
    installed: tuple[str, ...] = ()  # entries of a contract that follow from no setting
    seeds: int = 5  # of a study, where none are named
    frame_bytes: Callable[[Any], int] = lambda env: 1024  # of one frame, about
    fps: Callable[[Any], int] = lambda env: 4  # env_steps a second, in a film
    tried_steps: int = 0
    """env_steps that are played twice before a run, where it is not known that games repeat."""
    advice: Callable[[Any], list[str]] = lambda env: []  # said before a run
    check: Callable[[], Check] | None = None  # what the suite needs of the machine
