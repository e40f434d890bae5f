"""The list of suites, and functions on the environment of a config."""

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any

from pydantic import PlainValidator, SerializeAsAny
from pydantic_core import PydanticKnownError

from ezcli.envs.atari_suite import ATARI
from ezcli.envs.custom_suite import CUSTOM
from ezcli.envs.gym_suite import GYM
from ezcli.envs.minatar_suite import MINATAR
from ezcli.envs.procgen_suite import PROCGEN
from ezcli.envs.settings import EnvSettings
from ezcli.envs.small_suites import CATCH, KEYDOOR
from ezcli.envs.suite import Benchmark, Normalisation, OwnCode, Reference, Suite
from ezcli.errors import ConfigError, UnknownName, closest, letters

SUITES: dict[str, Suite] = {
    suite.name: suite for suite in (ATARI, CATCH, KEYDOOR, MINATAR, PROCGEN, GYM, CUSTOM)
}
DEFAULT = ATARI
WITHOUT_GPU = CATCH  # default of studies, learnt in minutes on a CPU


def validated(env: Any) -> EnvSettings:
    """Validates a table `env` as settings of the suite that it names."""
    if isinstance(env, EnvSettings):
        return env
    if not isinstance(env, dict):
        raise PydanticKnownError("model_attributes_type")
    if "name" not in env:
        raise PydanticKnownError("union_tag_not_found", {"discriminator": "'name'"})
    if str(env["name"]) not in SUITES:
        tags = ", ".join(map(repr, SUITES))
        about = {"discriminator": "'name'", "tag": str(env["name"]), "expected_tags": tags}
        raise PydanticKnownError("union_tag_invalid", about)
    return SUITES[str(env["name"])].settings.model_validate(env)


AnyEnvSettings = Annotated[SerializeAsAny[EnvSettings], PlainValidator(validated)]


def suite_of(env: EnvSettings) -> Suite:
    """The suite that the settings belong to."""
    return SUITES[env.name]


def game_of(env: EnvSettings) -> str | None:
    """The selected game, in a suite with several."""
    return getattr(env, "game") if suite_of(env).games else None  # noqa: B009


def own_code(env: EnvSettings) -> OwnCode | None:
    """The code of the environment, if it is a user's own."""
    return suite_of(env).own_code(env)


def reference_of(env: EnvSettings) -> Reference | None:
    """The reference scores of the game, if known."""
    benchmark = suite_of(env).benchmark
    return benchmark.references().get(suite_of(env).label(env)) if benchmark else None


def landmarks_of(env: EnvSettings) -> Mapping[str, float]:
    """Raw scores of the game for comparison, by source, the lowest first."""
    own, reference, scale = suite_of(env).landmarks(env), reference_of(env), normalisation_of(env)
    return own or ({scale.zero: reference.zero} if reference and scale else {})


def score_range_of(env: EnvSettings) -> tuple[float, float]:
    """The lowest and the highest raw score, infinite if not known."""
    return suite_of(env).score_range(env)


def benchmark_of(env: EnvSettings, games: Iterable[str]) -> Benchmark | None:
    """The benchmark of the suite that these settings and games belong to.

    Other games or rules give another benchmark.
    """
    found, count = suite_of(env).benchmark, len(set(games))
    while found and found.otherwise and (count > len(found.games) or not found.has_rules(env)):
        found = found.otherwise
    return found


def normalisation_of(env: EnvSettings) -> Normalisation | None:
    """The scale on which the suite's benchmark averages over games."""
    benchmark = suite_of(env).benchmark
    return benchmark.normalisation if benchmark else None


def follows_rules(env: EnvSettings, lengths: Iterable[int], cap: int) -> bool:
    """Whether games followed the rules of the suite's benchmark; True without a benchmark.

    Args:
      env: settings of the environment.
      lengths: env_steps of each game.
      cap: limit of a game in env_steps.
    """
    benchmark = suite_of(env).benchmark
    return benchmark is None or benchmark.follows_rules(env, lengths, cap)


def game_sets() -> dict[str, tuple[str, ...]]:
    """The named sets of games."""
    with_games = [suite.games for suite in SUITES.values() if suite.games]
    return {name: games for one in with_games for name, games in one.sets.items()}


def placed_game(env: str | None, game: str) -> tuple[str | None, str]:
    """The environment and game in `--env` and `--game`.

    A game can be `suite/game`, or `suite-game` as in tables.

    Args:
      env: as in `--env`.
      game: as in `--game`.
    """
    for separator in "/-":
        name, _, rest = game.partition(separator)
        if env in (None, name) and rest and name in SUITES and SUITES[name].games:
            return name, rest
    return env, game


def labels_of(text: str, known: Collection[str]) -> list[str]:
    """The labels of a game's name: its own, or those of `suite/game` at any difficulty.

    Args:
      text: as in `--game`, or a label; an unknown one is returned.
      known: labels to choose from.
    """
    env, game = placed_game(None, text)
    if text in known or env is None:
        return [text]
    start = game if SUITES[env] is DEFAULT else f"{env}-{game}"
    return [one for one in known if one == start or one.startswith(f"{start}-")] or [text]


def suite_of_set(name: str) -> Suite:
    """The suite that a set of games belongs to."""
    return next(one for one in SUITES.values() if one.games and name in one.games.sets)


def suite_with_games(name: str) -> Suite:
    """The suite with this name, if it has games, or else the default suite."""
    suite = SUITES.get(name, DEFAULT)
    return suite if suite.games else DEFAULT


def env_tables(text: str) -> dict[str, Any]:
    """The table `env` for a value of `--env`, without games and defaults.

    Raises:
      ConfigError: no suite accepts it.
    """
    if text in SUITES and not SUITES[text].takes:
        return {"name": text}
    for suite in SUITES.values():
        found = suite.tables(text)
        if found is not None:
            return found
    raise UnknownName("environment", text, [suite.takes or suite.name for suite in SUITES.values()])


def check_env(text: str) -> None:
    """Refuses a value of `--env` that no suite accepts, without looking for files or modules.

    Raises:
      ConfigError: suggests the nearest name, or the right option.
    """
    names = [suite.name for suite in SUITES.values() if not suite.takes]
    if text in names:
        return
    for suite in SUITES.values():
        starts = suite.prefix and text.startswith(suite.prefix)
        if (starts or suite.games) and suite.tables(text):
            return
    for suite in SUITES.values():
        if suite.games:
            games = suite.games.known()
            near = closest(suite.games.essence(text, games), (*names, *games), cutoff=0.8)
            if near in games:
                raise ConfigError(
                    "EZ-ENV-IS-A-GAME",
                    f"{text!r} is a game, not an environment.",
                    f"For the game: --game {suite.prefix}{near}",
                )
    env_tables(text)


def check_game(env: EnvSettings) -> None:
    """Refuses an unknown game, and an environment that is not installed.

    Raises:
      ConfigError: suggests the nearest name, or the right option.
    """
    suite_of(env).require(env)
    game = game_of(env)
    if game is not None:
        require_game(suite_of(env), game)


def require_game(suite: Suite, game: str) -> None:
    """Refuses a game that a suite does not have.

    Raises:
      ConfigError: with the nearest name, or the option that takes it.
    """
    if suite.games is None:
        return
    games = suite.games.known()
    if game in games:
        return
    essence = suite.games.essence(game, games)
    is_near = closest(essence, games, cutoff=0.8) is not None
    for other in SUITES.values():
        is_named = not other.takes and letters(game) == letters(other.name)
        if other is not suite and (is_named or (not is_near and other.tables(game))):
            raise ConfigError(
                "EZ-ENV-NOT-A-GAME",
                f"{game!r} is not a game of {suite.title}.",
                f"Use --env {other.name if is_named else game}.",
            )
    raise UnknownName("game", game, games, essence=essence)
