"""Every file in `ablations/` is a delta that changes what it names, in every preset."""

import tomllib
from pathlib import Path

import pytest

from ezcli.config import differences, flat_items, preset_names, preset_path, read_toml, resolve

FILES = sorted((Path(__file__).parents[1] / "ablations").glob("*.toml"))
HEADER = {"title", "why", "section"}


def test_there_is_one_for_each_component_of_the_paper() -> None:
    assert {"consistency", "value-prefix", "off-policy-correction"} <= {f.stem for f in FILES}


@pytest.mark.parametrize("preset", preset_names())
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_changes_what_it_says_and_nothing_else(file: Path, preset: str) -> None:
    tables = tomllib.loads(file.read_text())
    assert tables.keys() >= HEADER
    changes = dict(flat_items({k: v for k, v in tables.items() if k not in HEADER}))
    full = resolve(read_toml(preset_path(preset)))
    overrides = [f"{key}={str(value).lower()}" for key, value in changes.items()]
    arm = resolve(read_toml(preset_path(preset)), overrides)
    assert differences(full, arm) == dict.fromkeys(changes, (True, False))
    assert arm.identity != full.identity
