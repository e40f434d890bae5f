"""`ez presets` and `ez config`."""

import re
from pathlib import Path

from ezcli import console
from ezcli.commands.config_options import ConfigOptions, build_config
from ezcli.commands.files import require_place, save_and_tell
from ezcli.commands.find import find_run
from ezcli.config.files import preset_names, preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.config.text import to_commented_toml, to_tables, to_toml
from ezcli.errors import ConfigError
from ezcli.runs.folder import RunFolder
from ezcli.words import ez_command, json_text, spelt_out


def presets(as_json: bool) -> None:
    """`ez presets`."""
    fields = ("preset", "what for", "env_steps", "train_steps")
    rows = [(name, *preset_facts(name)) for name in preset_names()]
    if as_json:
        found = [dict(zip(("name", "about", *fields[2:]), row, strict=True)) for row in rows]
        console.write(json_text(found))
    else:
        console.show_table(fields, [(*row[:2], f"{row[2]:,}", f"{row[3]:,}") for row in rows])


def config_show(
    preset: str,
    game: str | None,
    env: str | None,
    seed: int | None,
    overrides: list[str] | None,
    explain: bool,
    as_json: bool,
) -> None:
    """`ez config show`."""
    if explain and as_json:
        raise ConfigError("EZ-OPTION-CONFLICT", "Use only one of --explain and --json.")
    config = build_config(ConfigOptions(preset, env, game, seed, None, overrides or ()))
    if as_json:
        console.write(json_text(to_tables(config)))
    else:
        text = to_commented_toml(config) if explain else to_toml(config)
        console.write(f"# identity {config.identity}\n{spelt_out(text)}")


def config_save(run: str, output: Path, runs_dir: Path) -> None:
    """`ez config save`."""
    if output.suffix != ".toml":
        raise ConfigError(
            "EZ-CONFIG-NOT-A-PRESET",
            f"The name {str(output)!r} does not end in .toml.",
            f"Name it {f'{output}.toml'!r}.",
        )
    if output.exists():
        raise ConfigError(
            "EZ-PATH-EXISTS", f"{str(output)!r} already exists.", "Choose another name."
        )
    require_place(output)
    folder = RunFolder(find_run(run, runs_dir))
    folder.require_sound()
    config = folder.config()
    about = f"Settings of the run {folder.name} (identity {config.identity})."
    save_and_tell(output, f"# {console.harmless(about)}\n{spelt_out(to_toml(config))}")
    console.show(f"Train with it: {ez_command('train', preset=output, seed=str(config.seed + 1))}")


def preset_facts(name: str) -> tuple[str, int, int]:
    """Purpose of a preset, from the first comment of its file, env_steps and train_steps."""
    path = preset_path(name)
    config = resolve(read_toml(path), source=name)
    about = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        about.append(line.removeprefix("#").strip())
    sentence = re.split(r"(?<! al)\. ", " ".join(about))[0].rstrip(".")
    return sentence, config.schedule.env_steps, config.schedule.train_steps
