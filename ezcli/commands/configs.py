"""`ez presets` and `ez config`."""

from ezcli import console
from ezcli.commands.config_options import ConfigOptions, build_config
from ezcli.config.files import preset_names, preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.config.text import to_commented_toml, to_tables, to_toml
from ezcli.errors import ConfigError
from ezcli.words import json_text, spelt_out


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


def preset_facts(name: str) -> tuple[str, int, int]:
    """What a preset is for, from the first comment of its file; env_steps and train_steps."""
    path = preset_path(name)
    config = resolve(read_toml(path), source=name)
    about = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        about.append(line.removeprefix("#").strip())
    sentence = " ".join(about).partition(". ")[0].rstrip(".")
    return sentence, config.schedule.env_steps, config.schedule.train_steps
