"""Builds a study from the options of `ez ablate`."""

from pathlib import Path
from typing import NamedTuple

from ezcli.commands.config_options import (
    ConfigOptions,
    build_config,
    default_preset,
    playable_config,
    require_trusted,
    with_code,
)
from ezcli.commands.find import is_changed
from ezcli.config.overrides import parse_override
from ezcli.config.resolve import resolve, use_env
from ezcli.config.run import RunConfig
from ezcli.envs.suites import (
    DEFAULT,
    WITHOUT_GPU,
    check_game,
    game_of,
    game_sets,
    own_code,
    placed_game,
    suite_of,
    suite_of_set,
)
from ezcli.errors import ConfigError, UnknownName
from ezcli.experiments.design import Arm, arms_of, parse_values
from ezcli.experiments.launchers.cluster import Cluster
from ezcli.experiments.study import Study, StudyFolder, default_name


class Options(NamedTuple):
    """The options of `ez ablate`; None or empty if not given."""

    drop: list[str]
    vary: list[str]
    factorial: bool
    game: list[str]
    games: str | None
    env: str | None
    seeds: str | None
    preset: str | None
    overrides: list[str]
    study: str | None

    @property
    def names_arms(self) -> bool:
        """Whether the options name an arm beside the full agent."""
        return bool(self.drop or self.vary or self.factorial)

    @property
    def names_base(self) -> bool:
        """Whether the options describe the full agent."""
        return bool(self.env or self.preset or self.overrides)

    @property
    def names_games(self) -> bool:
        """Whether the options name games."""
        return bool(self.game or self.games)

    @property
    def names_any(self) -> bool:
        """Whether the options describe a study; otherwise a saved one continues."""
        return self.names_arms or self.names_base or self.names_games or bool(self.seeds)


def study_from(
    options: Options, runs_dir: Path, cluster: Cluster
) -> tuple[Study, StudyFolder, list[str]]:
    """The described study, its folder, and sentences about it."""
    saved = None
    if options.study is not None:
        folder = StudyFolder(runs_dir, options.study)
        if folder.exists:
            saved = folder.study()
    if saved is None and not options.names_any:
        raise ConfigError(
            "EZ-STUDY-NO-ARMS",
            "There is nothing to ablate.",
            "Try --drop value-prefix; `ez ablations` lists what can be dropped.",
        )
    said: list[str] = []
    if saved is not None and not options.names_base:
        preset, base, games = saved.preset, with_code(saved.base, is_recorded=True), saved.games
        own = own_code(base.env)
        if own is not None:
            require_trusted(own, f"The study {options.study!r} names the code {own.target!r}")
        if options.names_games:
            games = games_of(options)
            for game in games:
                check_game(resolve(use_env(base.model_dump(mode="json"), None, game)).env)
    else:
        preset, base, games = base_of(options, said, cluster)
    if saved is not None and not options.names_arms:
        arms: tuple[Arm, ...] = saved.arms
    else:
        found, same = arms_of(base, options.drop, options.vary, options.factorial)
        arms = tuple(found)
        said += same
    if saved is not None and options.seeds is None:
        seeds = saved.seeds
    else:
        seeds = seeds_of(options.seeds, base)
    name = options.study or default_name(base, preset, games, arms)
    if options.study is None and is_changed(base, preset):
        name += f"-{base.identity[:6]}"
    asked = Study(name, preset, base, arms, games, seeds)
    return asked, StudyFolder(runs_dir, name), said


def base_of(
    options: Options, said: list[str], cluster: Cluster
) -> tuple[str, RunConfig, tuple[str, ...]]:
    """The preset's name, the full agent's config and the games."""
    if any(override.partition("=")[0].strip() == "seed" for override in options.overrides):
        raise ConfigError(
            "EZ-STUDY-SET-SEED", "--set seed is not allowed in a study.", "Use --seeds 0,3,7."
        )
    for text in options.vary:
        varied, _, values = (part.strip() for part in text.partition("="))
        for override in options.overrides:
            key, value = parse_override(override)
            if key == varied and value not in parse_values(text, values):
                raise ConfigError(
                    "EZ-STUDY-SET-AND-VARY",
                    f"--set {override} is not one of the values of --vary {text}.",
                    "Leave out --set, or add its value to --vary.",
                )
    env, games = placed_games(options)
    preset = options.preset
    if preset is None:
        preset, because = default_preset(env, None, None, cluster.settings.has_gpus)
        if not games and env is None and preset == DEFAULT.preset.cpu:
            preset, because = WITHOUT_GPU.preset.cpu, "there is no GPU, and it learns in minutes"
        said.append(f"Preset {preset}: {because}. Choose another with --preset.")
    chosen = ConfigOptions(preset, env, overrides=options.overrides)
    base = playable_config(chosen._replace(game=games[0] if games else None))
    for another in games[1:]:
        build_config(chosen._replace(game=another))
    game = game_of(base.env)
    if game is not None and not games:
        games = (game,)
        others = ["--game", *(f"--games {name}" for name in game_sets())]
        said.append(f"Game {game}, from the preset. Choose others with {' or '.join(others)}.")
    return preset, base, games


def placed_games(options: Options) -> tuple[str | None, tuple[str, ...]]:
    """The environment and games (without suite) in `--env`, `--game` and `--games`.

    Raises:
      ConfigError: games of several suites.
    """
    env, games = options.env, []
    if env is None and options.games in game_sets() and suite_of_set(options.games) is not DEFAULT:
        env = suite_of_set(options.games).name
    for game in games_of(options):
        env, plain = placed_game(env, game)
        games.append(plain)
    return env, tuple(games)


def games_of(options: Options) -> tuple[str, ...]:
    """The named games, each once."""
    named = list(options.game)
    if options.games is not None:
        sets = game_sets()
        if options.games not in sets:
            raise UnknownName("set of games", options.games, sets)
        named += sets[options.games]
    return tuple(dict.fromkeys(named))


def seeds_of(text: str | None, base: RunConfig) -> tuple[int, ...]:
    """Parses seeds: `5` means 0 to 4, `0,3,7` lists them.

    Raises:
      ConfigError: the text has neither form.
    """
    if text is None:
        return tuple(range(suite_of(base.env).seeds))
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 1 and parts[-1] == "":
        parts.pop()
    if not all(part.isdecimal() and len(part) < 11 and int(part) < 2**31 for part in parts):
        raise ConfigError(
            "EZ-STUDY-SEEDS", f"--seeds {text!r} is not allowed.", "Use 5 for 0 to 4, or 0,3,7."
        )
    if "," not in text:
        if not 1 <= int(text) <= 1000:
            raise ConfigError(
                "EZ-STUDY-SEEDS",
                f"--seeds {text!r} is not allowed.",
                "Use a number from 1 to 1000, or a list of seeds: 0,3,7.",
            )
        return tuple(range(int(text)))
    return tuple(dict.fromkeys(map(int, parts)))
