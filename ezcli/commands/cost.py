"""`ez cost`: operations of a run, and its time, memory, energy and price on this machine."""

import math
from typing import TYPE_CHECKING, Any

from ezcli import console
from ezcli.commands.config_options import ConfigOptions, default_preset, playable_config
from ezcli.config.run import RunConfig
from ezcli.errors import ConfigError
from ezcli.words import duration, json_text, quantity, size

if TYPE_CHECKING:
    from ezcli.bench.operations import Counted
    from ezcli.runs.cost import Cost


def cost(
    preset: str | None,
    env: str | None,
    game: str | None,
    device: str | None,
    overrides: list[str] | None,
    price_per_hour: float | None,
    watts: float | None,
    measure: bool,
    as_json: bool,
) -> None:
    """`ez cost`."""
    for option, rate in (("--price-per-hour", price_per_hour), ("--watts", watts)):
        if rate is not None and not math.isfinite(rate):
            raise ConfigError(
                "EZ-COST-RATE", f"{option} {rate} is not an amount.", "Give a number such as 2.50."
            )
        if rate is not None and not measure:
            raise ConfigError(
                "EZ-COST-NEEDS-HOURS",
                f"{option} needs a measurement of hours.",
                "Leave out --no-measure.",
            )
    if preset is None:
        preset, because = default_preset(env, game, device)
        console.note(f"Preset {preset}: {because}.")
    config = playable_config(
        ConfigOptions(preset, env, game, device=device, overrides=overrides or ())
    )
    found = estimate(config, preset, price_per_hour, watts, measure, quiet=as_json)
    if as_json:
        console.write(json_text(found))
    else:
        show(found)


def estimate(
    config: RunConfig,
    preset: str,
    price_per_hour: float | None,
    watts: float | None,
    measure: bool,
    quiet: bool,
) -> dict[str, Any]:
    """Computes all figures, as `--json` prints them.

    Raises:
      EzError: the device or the environment is not available, or memory ran out.
    """
    from ezcli.bench import operations, pieces
    from ezcli.bench.inputs import bench
    from ezcli.runs.compute import resolve_compute
    from ezcli.runs.cost import from_pieces
    from ezcli.runs.machine_errors import memory_errors
    from ezcli.runs.provenance import provenance

    compute = resolve_compute(config.compute)
    with memory_errors("try again."):
        at = bench(config, compute, pieces.SECONDS)
        found = counted_figures(operations.counted(at), config)
        if not measure:
            return {"preset": preset, "game": config.env_label, **found}
        if not quiet:
            console.note(
                f"Timing a search and a train_step on {provenance(compute)['device_name']} ..."
            )
        timed = pieces.measured(at)
    return {
        "preset": preset,
        "game": config.env_label,
        **found,
        **provenance(compute),
        "seconds": timed.seconds._asdict(),
        "game_env_steps": timed.game_env_steps,
        **run_figures(from_pieces(config, timed), price_per_hour, watts),
    }


def counted_figures(counted: "Counted", config: RunConfig) -> dict[str, Any]:
    """The figures that need no timing."""
    from ezcli.runs.workload import evaluations

    run, schedule = counted.run, config.schedule
    return {
        "parameters": {**counted.parameters, "total": sum(counted.parameters.values())},
        "macs": {
            **counted.operations._asdict(),
            "env_step": sum(run.values()) / schedule.env_steps,
            "run": sum(run.values()),
        },
        "macs_of_run": run,
        "amounts": {
            **counted.amounts._asdict(),
            "env_steps": schedule.env_steps,
            "simulations": config.search.num_simulations,
            "batch_size": config.loss.batch_size,
        },
        "evaluations": evaluations(config)._asdict(),
    }


def run_figures(whole: "Cost", price_per_hour: float | None, watts: float | None) -> dict[str, Any]:
    """Time of a run on this machine, and energy and price if their rates are given."""
    figures, hours = whole._asdict(), whole.hours or 0.0
    if watts is not None:
        figures["kilowatt_hours"] = hours * watts / 1000
    if price_per_hour is not None:
        figures["price"] = hours * price_per_hour
    return figures


def show(found: dict[str, Any]) -> None:
    """Prints the figures as tables."""
    console.show(f"Preset {found['preset']}, {found['game']}")
    parts, macs, often = found["parameters"], found["macs"], found["amounts"]
    console.show("")
    console.show_table(
        ("part of the network", "parameters"), [(name, f"{n:,}") for name, n in parts.items()]
    )
    simulations = f"a root and {often['simulations']} simulations"
    batch = f"forward and backward, {often['batch_size']} windows"
    rows = [
        ("initial inference", macs["initial_inference"], "representation and prediction"),
        ("recurrent inference", macs["recurrent_inference"], "dynamics and prediction"),
        ("search", macs["search"], simulations),
        ("train_step", macs["train_step"], batch),
        ("env_step", macs["env_step"], "a run divided by its env_steps"),
        ("run", macs["run"], shares(found["macs_of_run"])),
    ]
    console.show("")
    console.show_table(
        ("what", "multiply-accumulates", "made of"),
        [(name, quantity(count), what) for name, count, what in rows],
    )
    console.tell(
        f"A run makes {often['decisions']:,.0f} decisions and {often['train_steps']:,.0f} "
        f"train_steps. About {often['searched']:,.0f} searches give its {often['asked']:,.0f} "
        f"policy targets. {evaluations_text(found['evaluations'])}"
    )
    if "hours" in found:
        show_run(found)


def evaluations_text(games: dict[str, int]) -> str:
    """A sentence on the number of games in evaluations."""
    seen = games["training_level_games"]
    also = f" and {seen} on the levels of training" if seen else ""
    last = f"{games['final_games']} at the end{also}"
    return f"Evaluations play {games['interim_games']} games during training, {last}."


def show_run(found: dict[str, Any]) -> None:
    """Prints the cost of the run on this machine."""
    where = "main memory" if found["device_memory_bytes"] else "memory"
    hours = "at most" if found["device_memory_bytes"] else "about"
    made_of = shares(found["shares"])
    rows = [
        ("time", f"{hours} {duration(3600 * found['hours'])}", made_of),
        (where, size(found["memory_bytes"]), "with a full replay"),
    ]
    if found["device_memory_bytes"]:
        rows.append(("GPU memory", size(found["device_memory_bytes"]), ""))
    rows.append(("disk", size(found["disk_bytes"]), "at most, about"))
    if "kilowatt_hours" in found:
        rows.append(("energy", f"{found['kilowatt_hours']:.3g} kWh", "at the power given"))
    if "price" in found:
        rows.append(("price", price(found["price"]), "at the price given, in its currency"))
    console.show(f"\nA run on {found['device_name']}, {found['precision']}")
    console.show_table(("what", "estimate", ""), rows)
    length = f"{found['game_env_steps']:,.0f} env_steps"
    console.tell(
        f"Games of evaluations are assumed to last {length}, as measured here with random play. "
        "Games of a trained agent may be longer or shorter."
    )


def shares(parts: dict[str, float]) -> str:
    """Such as `acting <1%, learning 97%`."""
    whole = sum(parts.values())
    if not whole:
        return "nothing"
    percents = {name: f"{part / whole:.0%}" for name, part in parts.items()}
    return ", ".join(
        f"{name} {'<1%' if text == '0%' and parts[name] else text}"
        for name, text in percents.items()
    )


def price(amount: float) -> str:
    """Formats a price with two decimals, or three significant digits."""
    return f"{amount:,.2f}" if amount >= 1 else f"{amount:.3g}"
