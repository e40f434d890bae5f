"""`ez ablations`: the ablations, the settings that they change, and published effects."""

import json
from typing import Any

from ezcli import console
from ezcli.config.files import preset_path, read_toml
from ezcli.config.names import describe
from ezcli.config.resolve import resolve
from ezcli.config.run import differences
from ezcli.experiments.ablations import (
    FIRST_MEDIAN,
    PAPERS,
    PUBLISHED_FULL,
    Ablation,
    Published,
    ablation_names,
    combine,
    load_ablation,
    load_sum,
)
from ezcli.experiments.design import FULL
from ezcli.reports.published import agents_named
from ezcli.words import json_text

PROTOCOL = "human-normalised, 26 games of Atari 100k"


def list_ablations(as_json: bool) -> None:
    """`ez ablations`."""
    found = [load_ablation(name) for name in ablation_names()]
    if as_json:
        full = {
            "name": FULL,
            "published": PUBLISHED_FULL.model_dump(),
            "published_first_median": FIRST_MEDIAN,
        }
        listing = {"full": full, "ablations": [as_data(ablation) for ablation in found]}
        console.write(json_text(listing))
        return
    rows = [(FULL, "Nothing dropped", "", *scores(PUBLISHED_FULL))]
    rows += [(a.name, a.title, section(a), *scores(a.published)) for a in found]
    console.show_table(("ablation", "title", "section", "median", "mean"), rows)
    console.show(
        f"\nPublished scores: {PROTOCOL}. The first version of\n"
        f"the paper, arXiv:2111.00210, printed a median of {FIRST_MEDIAN} for the full agent.\n"
        "V2: changed by EfficientZero V2, arXiv:2403.00564; preset efficientzero-v2.\n"
        "Details of an ablation: ez ablations show value-prefix"
    )


def show(name: str, preset: str, as_json: bool) -> None:
    """`ez ablations show`."""
    ablations = load_sum(name)
    changes = combine(ablations)
    full = resolve(read_toml(preset_path(preset)), source=f"preset {preset!r}")
    arm = resolve(full.model_dump(mode="json"), source=f"ablation {name!r}", changes=changes)
    differing = differences(full, arm)
    if as_json:
        shown = {
            "name": name,
            "ablations": [as_data(ablation) for ablation in ablations],
            "full": {"name": FULL, "published": PUBLISHED_FULL.model_dump()},
            "preset": preset,
            "differences": [
                {"setting": key, "full": old, "ablated": new, "meaning": describe(key)}
                for key, (old, new) in differing.items()
            ],
        }
        console.write(json_text(shown))
        return
    for ablation in ablations:
        show_about(ablation)
    if len(ablations) > 1:
        show_sum(name, changes)
    show_differences(preset, changes, differing)


def show_about(ablation: Ablation) -> None:
    """Prints title, reason, section and published effect."""
    console.show(f"{ablation.title} ({ablation.name})\n{ablation.why}")
    if ablation.section:
        numbered = ablation.section[0].isdigit() or len(ablation.section) == 1
        place = f"Section {ablation.section}" if numbered else ablation.section.capitalize()
        console.show(f"{place} of {PAPERS[ablation.paper]}.")
    if ablation.scores:
        show_scores(ablation)
    else:
        show_published(ablation.published)


def show_scores(ablation: Ablation) -> None:
    """Prints published scores per game beside those of the full agent, and an empty line."""
    whole = agents_named([ablation.paper])[0].raw
    console.show("Published (mean raw scores):")
    for game, score in ablation.scores.items():
        console.show(f"  {game} {score:,.1f}; the full agent's {whole[game]:,.1f}")
    console.show("")


def show_sum(name: str, changes: dict[str, Any]) -> None:
    """Prints the published effect of a sum, if an ablation makes the same changes."""
    known = map(load_ablation, ablation_names())
    twin = next((ablation for ablation in known if ablation.changes == changes), None)
    console.show(
        f"Together ({name})" + (f", the same as the ablation {twin.name}:" if twin else ":")
    )
    show_published(twin.published if twin else None)


def show_published(published: Published | None) -> None:
    """Prints scores beside the full agent's, and an empty line."""
    if published is None:
        console.show("The effect is not published.\n")
        return
    (median, mean), (full_median, full_mean) = scores(published), scores(PUBLISHED_FULL)
    console.show(
        f"Published ({PROTOCOL}):\n"
        f"  median {median}, mean {mean}; the full agent's {full_median} and {full_mean}\n"
    )


def show_differences(
    preset: str, changes: dict[str, Any], differing: dict[str, tuple[Any, Any]]
) -> None:
    """Prints each setting with its value in the full agent and in the ablation."""
    console.show(f"In the preset {preset} this changes{':' if differing else ' nothing.'}")
    for key, (old, new) in differing.items():
        console.show(f"  {key}: {json.dumps(old)} -> {json.dumps(new)}")
        if describe(key):
            console.show(f"    {describe(key)}")
    for key in sorted(changes.keys() - differing.keys()):
        console.show(f"It already has {key} = {json.dumps(changes[key])}.")


def as_data(ablation: Ablation) -> dict[str, Any]:
    """The content of an ablation's file."""
    published = ablation.published
    return ablation._asdict() | {"published": published and published.model_dump()}


def section(ablation: Ablation) -> str:
    """Section of EfficientZero's paper, or a mark for V2."""
    return ablation.section if ablation.paper == "efficientzero" else "V2"


def scores(published: Published | None) -> tuple[str, str]:
    """Median and mean as published; empty if there are none."""
    return (f"{published.median:.3f}", f"{published.mean:.3f}") if published else ("", "")
