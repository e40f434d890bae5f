"""Small studies for the tests."""

import json
import os
from typing import NamedTuple

from ezcli.experiments.design import arms_of
from ezcli.experiments.study import Study, StudyFolder, plan
from tests.runs.helpers import tiny


def make_study(drops=("value-prefix",), seeds=(0, 1), vary=(), base=None, name="mine"):
    """Arms of a tiny run on catch."""
    base = base or tiny()
    arms, _ = arms_of(base, list(drops), list(vary), factorial=False)
    return Study(name, "smoke", base, tuple(arms), (), tuple(seeds))


class Saved(NamedTuple):
    """A study on disk, ready to run."""

    folder: StudyFolder
    runs: list


def save(runs_dir, study, existing=None):
    """Writes a study and plans its runs."""
    folder = StudyFolder(runs_dir, study.name)
    runs = plan(study, existing or {})
    folder.save(study, runs)
    return Saved(folder, runs)


def without_seals(folder, change=lambda record: None):
    """Makes the study one of version 0.1.0, and changes its `study.json`."""
    path = folder.path / "study.json"
    record = json.loads(path.read_text())
    for key in ("sha256", "seals", "is_launched"):
        record.pop(key, None)
    change(record)
    path.write_text(json.dumps(record))
    for file in (folder.preset_file, folder.launcher_file):
        if file.exists():
            file.write_text(file.read_text().partition("\n")[2])


def noted(runs_dir):
    """What the fake processes said of themselves, in the order of their start."""
    path = runs_dir / "noted.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def alive(pid):
    """Whether a process is there and not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
