"""`ez bench`: the speed of each part of a run on this machine, beside an earlier result."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ezcli import console
from ezcli.commands.config_options import ConfigOptions, default_preset, playable_config
from ezcli.commands.files import require_place, save_and_tell
from ezcli.config.files import is_file
from ezcli.config.run import RunConfig
from ezcli.errors import ConfigError, UnknownName
from ezcli.files import TABLE, read
from ezcli.words import json_text

PART_NAMES = ("tree", "search", "environment", "replay", "learner", "run")


def bench(
    parts: list[str],
    preset: str | None,
    env: str | None,
    game: str | None,
    device: str | None,
    overrides: list[str] | None,
    seconds: float,
    against: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """`ez bench`."""
    for part in parts:
        if part not in PART_NAMES:
            raise UnknownName("part", part, PART_NAMES)
    require_place(output)
    earlier = read_result(against) if against else None
    if preset is None:
        preset, because = default_preset(env, game, device)
        console.note(f"Preset {preset}: {because}.")
    config = playable_config(
        ConfigOptions(preset, env, game, device=device, overrides=overrides or ())
    )
    measured = measure(config, preset, parts or list(PART_NAMES), seconds, quiet=as_json)
    text = json_text(measured)
    if as_json:
        console.write(text)
    else:
        show(measured, earlier)
    if output is not None:
        save_and_tell(output, text)


def measure(
    config: RunConfig, preset: str, parts: list[str], seconds: float, quiet: bool
) -> dict[str, Any]:
    """Measures all figures, and records preset and machine."""
    from ezcli.bench.inputs import bench as prepare
    from ezcli.bench.parts import PARTS
    from ezcli.runs.compute import resolve_compute
    from ezcli.runs.provenance import provenance

    compute = resolve_compute(config.compute)
    at = prepare(config, compute, seconds)
    results = []
    for part in parts:
        if not quiet:
            console.note(f"Measuring {part} ...")
        results += [result._asdict() for result in PARTS[part](at)]
    return {
        "preset": preset,
        "identity": config.identity,
        "game": config.env_label,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        **provenance(compute),
        "results": results,
    }


def show(measured: dict[str, Any], earlier: dict[str, Any] | None) -> None:
    """Prints the figures as a table, with ratios to an earlier result if there is one."""
    console.show(
        f"{measured['preset']} on {measured['game']}, {measured['device_name']}, "
        f"{measured['precision']}"
    )
    before = {} if earlier is None else {key(r): r["value"] for r in earlier["results"]}
    rows = []
    for found in measured["results"]:
        row = [found["part"], found["what"], figure(found["value"]), found["unit"]]
        spread = f"{figure(found['low'])} to {figure(found['high'])}"
        row.append("" if found["low"] == found["high"] else spread)
        if earlier is not None:
            old = before.get(key(found))
            row.append("" if not old else f"{found['value'] / old:.2f}")
        rows.append(row)
    columns = ("part", "what", "median", "unit", "quartiles", *(["ratio"] if earlier else []))
    console.show_table(columns, rows)
    if earlier is not None:
        console.tell(
            f"Ratio to: {earlier['device_name']}, {earlier['preset']} on {earlier['game']}, "
            f"measured {earlier['measured']}."
        )


def key(found: dict[str, Any]) -> tuple[str, str, str]:
    """Key that is equal for two results of the same measurement."""
    return found["part"], found["what"], found["unit"]


def figure(value: float) -> str:
    """Formats a number with three significant digits."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def read_result(path: Path) -> dict[str, Any]:
    """Reads an earlier result.

    Raises:
      ConfigError: the file contains no result.
    """
    if not is_file(path):
        raise ConfigError(
            "EZ-BENCH-NO-FILE", f"There is no file {str(path)!r}.", "Create one with --output."
        )
    try:
        found = json.loads(read(path, TABLE, follow=True).decode())
    except (OSError, ValueError, RecursionError) as error:  # not JSON, or beyond Python's limits
        raise ConfigError(
            "EZ-BENCH-UNREADABLE", f"{str(path)!r} cannot be read: {error}."
        ) from error
    if not is_result(found):
        raise ConfigError(
            "EZ-BENCH-NOT-A-RESULT",
            f"{str(path)!r} is not a result of `ez bench`.",
            "Create one with --output.",
        )
    return dict(found)


def is_result(found: object) -> bool:
    """Whether a result has everything that a comparison needs."""
    if not isinstance(found, dict) or not isinstance(found.get("results"), list):
        return False
    return {"device_name", "preset", "game", "measured"} <= found.keys() and all(
        isinstance(r, dict)
        and all(isinstance(r.get(name), str) for name in ("part", "what", "unit"))
        and type(r.get("value")) in (int, float)
        for r in found["results"]
    )
