"""The Python interface: configs, training, recorded data, trained agents and reports.

    import ezcli

    config = ezcli.configure(env="catch", seed=1, settings={"evaluation.interval": 500})
    for event in ezcli.train(config, name="first"):
        print(event.train_steps, event.metrics)

    run = ezcli.load("first")
    pandas.DataFrame(run.metrics)
    agent = run.agent()
    env = agent.make_env()
    agent.act(env.reset(0))

Tables are lists of dicts, one dict per row, which `pandas.DataFrame` accepts. Errors that a user
can cause are `ezcli.EzError`.
"""

import logging
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ezcli.commands.config_options import (
    ConfigOptions,
    default_preset,
    playable_config,
    recorded,
    with_code,
)
from ezcli.commands.find import find_run, place_of
from ezcli.config.resolve import with_changes
from ezcli.config.run import RunConfig
from ezcli.errors import ConfigError, EzError
from ezcli.reports.choice import Choice
from ezcli.reports.collect import collect
from ezcli.reports.published import agents_named
from ezcli.reports.report import Report, build, usual_agents
from ezcli.reports.rows import Rows, evaluation_rows, game_rows, metric_rows, setting_columns
from ezcli.runs.folder import RunFolder

if TYPE_CHECKING:
    from ezcli.efficientzero.planner import Thought
    from ezcli.envs.protocol import Env, EnvSpec
    from ezcli.runs.session import RunEvent
    from ezcli.runs.watch import Moment

__all__ = ["Agent", "EzError", "Run", "configure", "load", "report", "train"]

RUNS = Path("runs")
log = logging.getLogger("ezcli")


def configure(
    preset: str | Path | None = None,
    *,
    game: str | None = None,
    env: str | None = None,
    seed: int | None = None,
    device: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Builds the config of a run from the same options as `ez train`.

    Args:
      preset: name or path of a TOML file; chosen by game and device if None.
      game: such as `pong` or `minatar/breakout`.
      env: `atari`, `catch`, `keydoor`, `gym:ID` or `file.py:Class`.
      seed: seed of all random numbers.
      device: such as `cpu` or `cuda:1`.
      settings: other settings by their dotted keys.

    Raises:
      ConfigError: a name or value is not allowed, or two arguments contradict each other.
    """
    if preset is None:
        preset, _ = default_preset(env, game, device)
    config = playable_config(ConfigOptions(str(preset), env, game, seed, device))
    if not settings:
        return config
    given = {"seed": seed, "compute.device": device, "env.game": game}
    for key, value in settings.items():
        if given.get(key) not in (None, value):
            raise ConfigError(
                "EZ-OPTION-CONFLICT",
                f"{key} has one value in settings and another in an argument.",
                "Leave out one of them.",
            )
    return with_code(with_changes(config, settings, source="settings"), is_recorded=True)


def train(
    config: RunConfig, *, name: str | None = None, runs_dir: str | Path = RUNS
) -> Generator["RunEvent", None, None]:
    """Trains a run, and yields an event with its metrics after each cycle.

    The run trains only while the caller takes events. Closing the generator saves and stops the
    run, as do Ctrl-C and the other signals that stop `ez train`. The same call continues it. The
    run is locked until then. Messages go to the logger `ezcli`.

    Args:
      config: from `configure`, or the config of another run.
      name: of the run's folder; made from game, seed and identity if None. If a run already has
        this config, that run continues.
      runs_dir: folder of all runs.

    Raises:
      EzError: the folder belongs to another config or process, or the run failed.
      KeyboardInterrupt: after Ctrl-C, once the run is saved.
    """
    from ezcli.runs.session import StopRequest
    from ezcli.runs.train import training

    default = f"{config.env_label}-seed{config.seed}-{config.identity[:6]}"
    folder = RunFolder(place_of(config, Path(runs_dir), name, default))
    stop, reporter = StopRequest(), _Reporter()
    with closing(training(config, folder, reporter, stop, listens=False)) as events:
        while True:
            is_main = threading.current_thread() is threading.main_thread()
            with stop.listening() if is_main else nullcontext():
                event = next(events, None)
            if event is None:
                break
            yield event
    if stop.signal is not None:
        log.info("Stopped by %s and saved.", stop.signal.name)
        if stop.signal is signal.SIGINT:
            raise KeyboardInterrupt


class _Reporter:
    """Passes on the messages of a run. Its progress is reported as events."""

    lost_output = None

    def say(self, text: str) -> None:
        log.info(text)

    def progress(self, *_: Any) -> None:
        pass

    def quiet_while(
        self, what: str, is_announced: bool = True
    ) -> AbstractContextManager[Callable[..., None]]:
        return nullcontext(lambda *_: None)


def load(run: str | Path, runs_dir: str | Path = RUNS) -> "Run":
    """Returns a run, found by the start of its name or identity, or by the path of its folder.

    Raises:
      EzError: there is no such run, or it is damaged.
    """
    return Run(find_run(str(run), Path(runs_dir)))


class Run:
    """The files of a run. Each property reads them anew.

    A damaged file raises an EzError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = RunFolder(path)
        self.config: RunConfig = self._folder.config()

    def __repr__(self) -> str:
        return f"ezcli.load({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self._folder.name

    @property
    def status(self) -> str:
        """The recorded status: `new`, `running`, `interrupted`, `failed` or `finished`."""
        return self._folder.status()

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by its dotted key; lists as JSON."""
        return setting_columns(self._folder)

    @property
    def metrics(self) -> Rows:
        """A row for each line of `metrics.jsonl`."""
        return metric_rows(self._folder)

    @property
    def evaluations(self) -> Rows:
        """A row for each evaluation: statistics of its scores, and its protocol."""
        return evaluation_rows(self._folder)

    @property
    def games(self) -> Rows:
        """A row for each game of each evaluation."""
        return game_rows(self._folder)

    def agent(self, device: str | None = None, seed: int = 0) -> "Agent":
        """Returns the agent with the weights of the newest checkpoint.

        Args:
          device: the device of the run if None.
          seed: seed of the planner's random numbers, for example to choose between equal actions.

        Raises:
          EzError: there is no complete checkpoint yet, or the device or the game is not available.
        """
        return Agent(self._folder, recorded(self._folder, device), seed)


class Agent:
    """Plays as in an evaluation: greedily, without noise.

    An observation is one frame, array [C, H, W], or the frames of an episode so far, oldest first,
    [n, C, H, W] or a sequence of n frames. The last T = `config.env.frame_stack` frames are used.
    If there are fewer, the first frame is repeated.
    """

    def __init__(self, folder: RunFolder, config: RunConfig, seed: int) -> None:
        from ezcli.efficientzero.components import planners_for
        from ezcli.efficientzero.searcher import Searcher
        from ezcli.runs.agent import load_agent
        from ezcli.runs.seeding import generator

        self.config = config
        self._agent = load_agent(folder, config, log.info)
        network, compute = self._agent.network, self._agent.compute
        self._searcher = Searcher(network, compute.precision, compute.search)
        self._planner = planners_for(config, network.num_actions).evaluation
        self._rng = generator(config.seed, "evaluation", seed)

    @property
    def spec(self) -> "EnvSpec":
        """Shape and type of frames, names of actions, and other constants of the environment."""
        return self._agent.spec

    @property
    def train_steps(self) -> int:
        """Number of train_steps that its weights were trained for."""
        return self._agent.train_steps

    def make_env(self) -> "Env":
        """Makes a game with the settings of an evaluation."""
        from ezcli.envs.make import make_env

        return make_env(self.config.env, evaluation=True)

    def act(self, observation: "np.ndarray | Sequence[np.ndarray]") -> int:
        """Returns the index of the action to play."""
        return self.plan(observation).action

    def value(self, observation: "np.ndarray | Sequence[np.ndarray]") -> float:
        """Returns the discounted return that the network predicts, without planning."""
        return float(self._searcher.evaluate(self._stacked(observation))[0])

    def latent(self, observation: "np.ndarray | Sequence[np.ndarray]") -> np.ndarray:
        """Returns the latent state h(observation), float32 [c, h, w]."""
        latent: np.ndarray = self._searcher.latents(self._stacked(observation))[0]
        return latent

    def plan(self, observation: "np.ndarray | Sequence[np.ndarray]") -> "Thought":
        """Plans from an observation.

        Returns:
          The action, visits [A] and value of the plan, policy [A] and value of the network, and
          the tree of the search.
        """
        stacked = self._stacked(observation)
        return self._planner.think(
            self._searcher, stacked, self._planner.draws(self._rng, 1, explores=False)
        )

    def play(self, seed: int = 0, max_env_steps: int | None = None) -> Iterator["Moment"]:
        """Plays one evaluation episode with this seed, and yields a moment for each env_step."""
        from ezcli.runs.watch import play

        cap = self.config.env.evaluation_max_episode_steps
        most = cap if max_env_steps is None else min(cap, max_env_steps)
        return play(self._agent, self.config, seed, most)

    def _stacked(self, observation: "np.ndarray | Sequence[np.ndarray]") -> Any:
        """Returns the observation as input of the network: [1, T * C, H, W].

        Raises:
          ConfigError: its shape or type is not the one of the environment's frames.
        """
        from ezcli.efficientzero.frames import RecentFrames

        shape, kind = self.spec.frame_shape, self.spec.frame_type
        frames = np.asarray(observation)
        frames = frames[None] if frames.ndim == 3 else frames
        if frames.shape[1:] != shape or not len(frames) or frames.dtype.name != kind:
            raise ConfigError(
                "EZ-API-OBSERVATION",
                f"An observation of shape {np.shape(observation)} and type {frames.dtype} does "
                "not "
                f"fit {self.config.env_label}.",
                f"Give frames of shape {shape} and type {kind}.",
            )
        recent = RecentFrames([frames[0]], self.config.env.frame_stack, self._agent.compute.device)
        for frame in frames[1:]:
            recent.add(0, frame)
        return recent.observations([0])


def report(
    *names: str | Path,
    runs_dir: str | Path = RUNS,
    evaluation: str = "final",
    games: Sequence[str] = (),
    arms: Sequence[str] = (),
    against: Sequence[str] | None = None,
    resamples: int = 50_000,
) -> Report:
    """Returns the tables of `ez report` as objects. `records` of a table gives its rows as dicts.

    Args:
      names: studies, runs, or folders of them; all in `runs_dir` if empty.
      runs_dir: folder of all runs.
      evaluation: scores to report: `final`, `latest`, or a name given to `ez evaluate`.
      games: games to include; all if empty.
      arms: arms to include beside the full agent; all if empty.
      against: published agents to compare with; those of `ez report` if None.
      resamples: number of bootstrap resamples per interval.

    Raises:
      EzError: a name is unknown, or the runs are not comparable.
    """
    groups, said = collect([str(name) for name in names], Path(runs_dir), evaluation)
    agents = usual_agents(groups) if against is None else agents_named(against)
    return build(groups, said, agents, Choice(tuple(games), tuple(arms), resamples))
