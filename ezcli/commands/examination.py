"""`ez doctor`: checks whether the machine can train, or whether a run is intact."""

from collections.abc import Iterator
from pathlib import Path

from ezcli import __version__, console
from ezcli.commands.find import find_run
from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.envs.suite import Check
from ezcli.words import json_text


def doctor(run: str | None, preset: str, runs_dir: Path, as_json: bool) -> int:
    """`ez doctor`, for the machine or a run."""
    found = []
    checks = of_machine(preset, runs_dir) if run is None else of_run(find_run(run, runs_dir))
    for check in checks:
        if not as_json:
            console.show_check(*check)
        found.append(check)
    if as_json:
        console.write(
            json_text({"ezcli": __version__, "checks": [check._asdict() for check in found]})
        )
    return 0 if all(check.ok for check in found) else 1


def of_machine(preset: str, runs_dir: Path) -> Iterator[Check]:
    """Checks everything that a run with the preset needs."""
    from ezcli import doctor as examination
    from ezcli.runs.cost import needs

    config = resolve(read_toml(preset_path(preset)), source=preset)
    yield from examination.checks(preset, runs_dir, needs(config), config)


def of_run(path: Path) -> Iterator[Check]:
    """Checks the files of a run. A damaged file that makes others unreadable is named once."""
    from ezcli.runs.examine import examine
    from ezcli.runs.folder import RunFolder

    said = set[str]()
    for finding in examine(RunFolder(path)):
        if finding.ok or finding.detail not in said:
            yield Check(*finding)
        said.add(finding.detail)
