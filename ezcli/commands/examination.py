"""`ez doctor`: whether the machine can train, and whether a run is whole."""

from pathlib import Path

from ezcli import console
from ezcli.commands.find import find_run
from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve


def doctor(run: str | None, preset: str, runs_dir: Path) -> int:
    """`ez doctor`, of the machine or of a run."""
    if run is not None:
        return examine_run(find_run(run, runs_dir))
    from ezcli import doctor as examination
    from ezcli.runs.cost import needs

    config = resolve(read_toml(preset_path(preset)), source=preset)
    is_fit = True
    for check in examination.checks(preset, runs_dir, needs(config), config):
        console.show_check(check.name, check.ok, check.detail, check.remedy)
        is_fit = is_fit and check.ok
    return 0 if is_fit else 1


def examine_run(path: Path) -> int:
    """`ez doctor RUN`."""
    from ezcli.runs.examine import examine
    from ezcli.runs.folder import RunFolder

    is_whole, said = True, set[str]()
    for finding in examine(RunFolder(path)):
        if finding.ok or finding.detail not in said:  # one file may be why several cannot be read
            console.show_check(finding.name, finding.ok, finding.detail, finding.remedy)
        said.add(finding.detail)
        is_whole = is_whole and finding.ok
    return 0 if is_whole else 1
