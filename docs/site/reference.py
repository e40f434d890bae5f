"""The reference pages, made from the code that they describe: settings, commands, errors and more.

Each function returns a page as Markdown; `pages` names them all.
"""

import inspect
import re
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

from ezcli.cli import app
from ezcli.config.files import preset_names, preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.config.run import RunConfig
from ezcli.envs.suites import SUITES
from ezcli.experiments.ablations import PAPERS, ablation_names, load_ablation
from ezcli.runs.metrics import COLUMNS
from ezcli.settings import Settings
from tests.error_sentences import FILE

SHOWN = ("atari100k", "catch")  # presets whose values stand beside the settings


def pages() -> dict[str, str]:
    """Every page that is made from the code, by its path on the site."""
    return {
        "reference/commands.md": commands(),
        "reference/settings.md": settings(),
        "reference/presets.md": presets(),
        "reference/ablations.md": ablations(),
        "reference/environments.md": environments(),
        "reference/metrics.md": metrics(),
        "reference/errors.md": errors(),
    }


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; a `|` in a cell is escaped."""
    lines = [list(head), ["---"] * len(list(head)), *map(list, rows)]
    cells = ([" ".join(cell.split()).replace("|", r"\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


# Commands


def command_line() -> Any:
    """The command line as Typer's Click sees it."""
    return typer.main.get_command(app)


def all_commands(group: Any = None, before: str = "ez") -> dict[str, Any]:
    """Every command by its words; a group only if it also does something by itself."""
    found: dict[str, Any] = {}
    for name, command in (group or command_line()).commands.items():
        words = f"{before} {name}"
        if not hasattr(command, "commands"):
            found[words] = command
            continue
        if command.invoke_without_command:
            found[words] = command
        found |= all_commands(command, words)
    return found


def commands() -> str:
    """The help of every command, as the terminal shows it."""
    parts = [
        "# Commands",
        "The help of every command, as `ez COMMAND --help` prints it.",
        help_of("ez"),
    ]
    for words in all_commands():
        parts += [f"## {words}", help_of(words)]
    return "\n\n".join(parts) + "\n"


def help_of(words: str) -> str:
    """The help of a command, as code."""
    arguments = [*words.split()[1:], "--help"]
    shown = CliRunner().invoke(app, arguments, prog_name="ez", terminal_width=100)
    return f"```text\n{shown.output.strip()}\n```"


# Settings


def settings() -> str:
    """Every setting outside the environment: meaning, type, what the paper's preset has."""
    examples = [resolve(read_toml(preset_path(name))) for name in SHOWN]
    parts = [
        "# Settings",
        "A config is a TOML file with one table for each section below. A preset holds all of "
        "them, and `--set section.name=value` changes one. "
        "`ez config show --preset atari100k --explain` prints a whole config with these meanings.",
        "A citation names the source of a section or a setting. Without another name it is a "
        "section of EfficientZero ([arXiv:2111.00210](https://arxiv.org/abs/2111.00210)); V2 is "
        "EfficientZero V2 ([arXiv:2403.00564](https://arxiv.org/abs/2403.00564)). *Without it* is "
        "the value of a setting that a file leaves out, as files from before the setting do.",
        "The settings of environments are listed with [their suites](environments.md).",
        "## seed",
        setting_table("seed", {"seed": RunConfig.model_fields["seed"]}, examples),
    ]
    for section, field in RunConfig.model_fields.items():
        model = field.annotation
        if section != "env" and isinstance(model, type) and issubclass(model, Settings):
            about = inspect.cleandoc(model.__doc__ or "").split("\n\n")[0]
            rows = {f"{section}.{name}": inner for name, inner in model.model_fields.items()}
            parts += [f"## {section}", about, setting_table(section, rows, examples)]
    return "\n\n".join(parts) + "\n"


def setting_table(
    section: str, fields: dict[str, FieldInfo], examples: Iterable[RunConfig] = ()
) -> str:
    """A row for each setting."""
    examples = list(examples)
    head = ["setting", "meaning", "type", "without it", *(f"`{n}`" for n in SHOWN[: len(examples)])]
    rows = []
    for key, field in fields.items():
        default = "required" if field.is_required() else code(field.get_default())
        shown = [code(value_of(config, key)) for config in examples]
        about = field.description or ""
        rows.append([f"`{key}`", about, allowed(field.annotation), default, *shown])
    return table(head, rows)


def value_of(config: RunConfig, key: str) -> Any:
    """The value of a dotted setting."""
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def code(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple | list):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`" if value != "" else '`""`'


def allowed(kind: Any) -> str:
    """The type of a setting, in words."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(allowed(one) for one in inner if one is not type(None))
    if origin is tuple or origin is list:
        return "list"
    if hasattr(kind, "__metadata__"):
        return allowed(kind.__origin__)
    names = {bool: "true or false", int: "integer", float: "number", str: "text"}
    return names.get(kind, "table")


# Presets, ablations, environments


def presets() -> str:
    """Every preset with what its file says of itself, and its size."""
    rows = []
    for name in preset_names():
        tables = read_toml(preset_path(name))
        schedule = resolve(tables).schedule
        lines = Path(preset_path(name)).read_text(encoding="utf-8").splitlines()
        comment = []
        for line in lines:
            if not line.startswith("#"):
                break
            comment.append(line.lstrip("# "))
        steps = [f"{schedule.env_steps:,}", f"{schedule.train_steps:,}"]
        rows.append([f"`{name}`", " ".join(comment), *steps])
    return (
        "# Presets\n\nA preset is a complete TOML file. To make your own, copy one, change it, and "
        "pass its path to `--preset`. `ez config show --preset NAME` prints one.\n\n"
        + table(["preset", "for", "env_steps", "train_steps"], rows)
        + "\n"
    )


def ablations() -> str:
    """Every ablation with what it changes."""
    rows = []
    for name in ablation_names():
        found = load_ablation(name)
        changes = ", ".join(f"`{key}` = {code(value)}" for key, value in found.changes.items())
        paper = PAPERS[found.paper].partition(",")[0]
        source = f"{paper}, {found.section}" if found.section else "–"
        score = f"{found.published.mean} / {found.published.median}" if found.published else "–"
        rows.append([f"`{name}`", f"**{found.title}.** {found.why}", changes, source, score])
    return (
        "# Ablations\n\nPass a name to `ez ablate --drop`, or the path of a file of your own. "
        "`ez ablations show NAME` prints what an ablation changes in a preset. The last column has "
        "the published human-normalised mean and median over 26 games without the part; with all "
        "parts they are 1.943 and 1.090 (Ye et al., NeurIPS 2021, table 3).\n\n"
        + table(["ablation", "what it drops, and why", "changes", "source", "published"], rows)
        + "\n"
    )


def environments() -> str:
    """Every suite of environments with its settings."""
    parts = [
        "# Environments",
        "`--env` chooses a suite, `--game` and `--games` choose games of a suite that has several. "
        "The settings below belong in the table `[env]` of a config.",
    ]
    for name, suite in SUITES.items():
        parts += [f"## {name}", f"{suite.title[0].upper()}{suite.title[1:]}."]
        if suite.takes:
            parts.append(f"`--env` takes {suite.takes}.")
        if suite.games and suite.games.sets:
            sets = (f"`--games {one}` ({len(games)})" for one, games in suite.games.sets.items())
            parts.append(f"Sets of games: {', '.join(sets)}.")
        fields = {f"env.{key}": field for key, field in suite.settings.model_fields.items()}
        parts.append(setting_table(name, fields))
    return "\n\n".join(parts) + "\n"


# Files and errors


def metrics() -> str:
    """Every column of `metrics.jsonl`."""
    rows = ([f"`{name}`", about] for name, about in COLUMNS.items())
    return (
        "# Metrics\n\nEach line of `metrics.jsonl` sums up the `record.metrics_interval` "
        "train_steps before it. A line is a function of config and seed and holds no clock, so "
        "that two runs can be compared byte for byte. `--wandb offline` or "
        "`--wandb online` copies the same numbers to Weights & Biases.\n\n"
        + table(["column", "meaning"], rows)
        + "\n"
    )


def errors() -> str:
    """Every code of an error, with the sentences that carry it."""
    by_code: dict[str, list[str]] = {}
    for line in FILE.read_text(encoding="utf-8").splitlines():
        found, _, sentence = line.partition(": ")
        by_code.setdefault(found, []).append(plain(sentence))
    rows = [
        [f"`{found}`", "<br>".join(dict.fromkeys(sentences))]
        for found, sentences in by_code.items()
    ]
    return EXIT_CODES + table(["code", "messages"], rows) + "\n"


def plain(sentence: str) -> str:
    """A message with `…` for what is filled in, and its way out in italics."""
    sentence = re.sub(r"\{(?:[^{}]|\{[^{}]*\})*\}", "…", sentence).replace("<", "&lt;")
    sentence = sentence.replace("*", r"\*").replace("_", r"\_")
    message, mark, hint = sentence.removeprefix("... ").partition(" | ")
    return f"{message} *{hint.strip()}*" if mark and hint.strip(" …|") else message


EXIT_CODES = """# Errors and exit codes

## Exit codes

| code | meaning |
|---|---|
| 0 | The command is done. |
| 1 | It failed. |
| 2 | An option, a setting or a file cannot be used. |
| 3 | Another process is working on the run or study. |
| 75 | SIGTERM, SIGUSR1, SIGUSR2, a closed terminal or a cluster stopped it. The run is saved. |
| 130 | Ctrl-C stopped it. The run is saved. |

After 75 and 130 the same command continues the run. A second Ctrl-C ends a command at once; the run
then continues from its last checkpoint. Under `nohup` a closed terminal stops nothing.

## Codes

An error is one sentence, and usually a second one that names the way out. Its code never changes,
while its wording may. `ez --debug COMMAND` prints the code and a traceback; a command with `--json`
prints the error as a JSON object with `code`, `message` and `hint`. In this table `…` is filled in
when the error occurs.

"""
