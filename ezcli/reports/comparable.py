"""Checks which runs are comparable: one agent, one environment, one version of its code."""

import json
from collections.abc import Mapping
from typing import Any

from ezcli.config.resolve import with_changes
from ezcli.config.run import RunConfig, decisive, differences, settings_of_agent
from ezcli.config.tables import flat_items
from ezcli.envs.suites import game_of, suite_of
from ezcli.errors import ReportError
from ezcli.reports.groups import FINAL, ArmScores, Group, Run


def require_one_agent(group: Group, arm: ArmScores) -> None:
    """Refuses an arm whose runs differ from the full agent in more than the arm's changes.

    Raises:
      ReportError: names the difference.
    """
    expected = with_changes(group.base, arm.changes)
    for seeds in arm.runs.values():
        for run in seeds.values():
            if settings_of_agent(run.config) != settings_of_agent(expected):
                found = differences(without_place(expected), without_place(run.config))
                raise ReportError(
                    "EZ-REPORT-OTHER-ARM",
                    f"The run {run.name!r} does not belong to the arm {arm.name!r} of "
                    f"{group.name!r}: it also differs in {pairs_text(found)}.",
                    "Its config.toml or the study's preset.toml was changed. Restore it, or "
                    "delete the run.",
                )


def without_place(config: RunConfig) -> RunConfig:
    """The config with seed 0 and a fixed game: equal for runs of one agent."""
    place: dict[str, Any] = {"seed": 0}
    if game_of(config.env):
        place["env.game"] = "any"
    return with_changes(config, place)


def require_one_environment(group: Group) -> None:
    """Refuses runs of one game whose environments differ beyond their settings.

    A contract follows from the settings and the installed packages. Runs with equal settings must
    have equal contracts. Arms that change the environment need only the same emulator.

    Raises:
      ReportError: names the difference.
    """
    require_one_code(group)
    first: dict[tuple[str, str], Run] = {}
    for run in group.runs:
        settings = json.dumps(run.config.env.model_dump(mode="json"), sort_keys=True)
        keys = {*run.contract, *first.setdefault((run.game, settings), run).contract}
        for other, compared in (
            (first[run.game, settings], keys),
            (first.setdefault((run.game, ""), run), suite_of(run.config.env).installed),
        ):
            differing = {
                key: (other.contract.get(key), run.contract.get(key))
                for key in sorted(compared)
                if other.contract.get(key) != run.contract.get(key)
            }
            if not differing:
                continue
            raise ReportError(
                "EZ-REPORT-OTHER-ENV",
                f"The runs {other.name!r} and {run.name!r} were not played in the same "
                "environment "
                f"({pairs_text(differing)}).",
                "Report them one by one.",
            )


def require_one_code(group: Group) -> None:
    """Refuses runs whose environments have different code, as far as it is recorded.

    Raises:
      ReportError: names the files that differ.
    """
    known = [run for run in group.runs if run.code]
    for run in known[1:]:
        files = {*run.code.items()} ^ {*known[0].code.items()}
        if files:
            names = ", ".join(sorted({name for name, _ in files}))
            raise ReportError(
                "EZ-REPORT-OTHER-CODE",
                f"The code of the environment differs between the runs {known[0].name!r} and "
                f"{run.name!r} ({names}).",
                "Report them one by one.",
            )


def require_one_protocol(group: Group) -> None:
    """Refuses scores from different protocols, except those of final evaluations.

    Raises:
      ReportError: names the difference.
    """
    runs = group.runs
    if all(run.protocol.evaluation == FINAL for run in runs):
        return
    keys = {key for run in runs for key in run.protocol.changes}
    played = [{key: played_under(run, key) for key in sorted(keys)} for run in runs]
    for run, settings in zip(runs, played, strict=True):
        settings |= {"episodes": run.episodes, "seed": run.protocol.seed}
        differing = {
            key: (value, settings[key])
            for key, value in played[0].items()
            if settings[key] != value
        }
        if differing:
            raise ReportError(
                "EZ-REPORT-OTHER-PROTOCOL",
                f"The runs {runs[0].name!r} and {run.name!r} were evaluated differently "
                f"({pairs_text(differing)}).",
                "Evaluate both with the same options and --name of `ez evaluate`, and report "
                "that evaluation.",
            )


def played_under(run: Run, key: str) -> Any:
    """The value of a setting in the reported evaluation of a run."""
    return run.protocol.changes.get(key, dict(flat_items(decisive(run.config))).get(key))


def mixed(agents: list[Group]) -> ReportError:
    """The error about named runs of different agents."""
    one, other = (group.runs[0] for group in agents[:2])
    found = differences(without_place(one.config), without_place(other.config))
    return ReportError(
        "EZ-REPORT-OTHER-AGENT",
        f"The runs {one.name!r} and {other.name!r} are of different agents ({pairs_text(found)}).",
        "Report them one by one. To compare agents, make a study (`ez ablate`).",
    )


def pairs_text(differing: Mapping[str, tuple[Any, Any]]) -> str:
    """Settings with both of their values."""
    return "; ".join(f"{key}: {a!r} / {b!r}" for key, (a, b) in differing.items())
