"""Notes on protocol, code, machines and time of the scores of a group."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from ezcli.experiments.design import arm_label
from ezcli.reports.groups import FINAL, Group, Run
from ezcli.runs.evaluations import changes_text
from ezcli.words import counted, duration

# settings listed in a note
PACKAGES = {"torch": "PyTorch", "numba": "Numba", "numpy": "NumPy", "ale-py": "ale-py"}


def provenance_notes(group: Group) -> list[str]:
    """Notes on protocol, code, machines and time of a group's scores."""
    runs = group.runs
    if not runs:
        return ["No run has a score yet."]
    episodes = either(run.episodes for run in runs)
    caps = either(run.config.env.evaluation_max_episode_steps for run in runs)
    seeds = sorted({run.config.seed for run in runs})
    presets = [group.preset] if group.preset else sorted({run.preset for run in runs})
    protocol = protocol_text(group)
    notes = [
        f"{counted(len(runs), 'run')}; each score is the mean over {episodes} episodes of "
        f"at most {caps} env_steps, played with the last weights without exploration.",
        *([f"These are not the final scores but those of the {protocol}."] if protocol else []),
        f"Preset {', '.join(presets)}; {'seed' if len(seeds) == 1 else 'seeds'} {listed(seeds)}.",
    ]
    if any(arm.drops for arm in group.arms):
        notes.append(
            "An arm with a drop is the agent without that part. See ez ablations show NAME."
        )
    changed = {
        arm.name: {key: value for key, value in arm.changes.items() if key.startswith("env.")}
        for arm in group.arms
        if arm.runs
    }
    if any(changed.values()):
        texts = {
            name: ", ".join(f"{key} = {json.dumps(value)}" for key, value in own.items())
            for name, own in changed.items()
        }
        there = "; ".join(f"{arm_label(name)} ({text})" for name, text in texts.items() if text)
        notes.append(
            f"Each arm was evaluated in its own environment, which these arms change: {there}. "
            "So differences between arms can come from the environment, not the agent."
        )
    others = sorted({run.game for run in runs if not run.follows_rules})
    if others and group.benchmark:
        notes.append(
            f"{', '.join(others)}: not {group.benchmark.normalisation.name}, because final games "
            f"did not follow the rules of the benchmark: {group.benchmark.rules}."
        )
    versions = sessions_by(runs, version_text)
    notes.append(f"Code: {counts_text(versions)}.")
    if len(versions) > 1:
        notes.append(
            "The runs were trained with several versions of ezcli. CHANGELOG.md lists "
            "their differences."
        )
    devices = sessions_by(runs, device_text)
    trained = [f"{device} ({counted(number, 'run')})" for device, number in devices.most_common()]
    notes.append(f"Trained on: {', '.join(trained)}.")
    notes.append(f"With {counts_text(sessions_by(runs, package_text), '; or ')}.")
    libraries = sessions_by(runs, library_text)
    if set(libraries) - {""}:
        set_ = counts_text(libraries, "; ")
        notes.append(f"Environment variables that affect the bits of results: {set_}.")
    seconds = [run.seconds for run in runs if run.seconds is not None]
    if len(seconds) == len(runs):
        each = f" in total, {duration(median(seconds))} per run (median)" if len(runs) > 1 else ""
        notes.append(f"Training took {duration(sum(seconds))}{each}.")
    return [*notes, distinct_text(runs), *subset_notes(group)]


def distinct_text(runs: Sequence[Run]) -> str:
    """A sentence on how often a deterministic agent repeated its score."""
    fewest, most = (f(runs, key=lambda run: run.distinct) for f in (min, max))
    where = "in every run"
    if fewest.distinct != most.distinct:
        where = f"in {fewest.game} with seed {fewest.config.seed}, up to {most.distinct} elsewhere"
    return (
        f"Distinct scores among the episodes of a run: {fewest.distinct} of {fewest.episodes} "
        f"{where}."
    )


def subset_notes(group: Group) -> list[str]:
    """Notes on how well scores of some games predict the score over all."""
    benchmark, games = group.benchmark, frozenset(run.game for run in group.runs)
    if benchmark is None or not benchmark.subsets or not games < set(benchmark.games):
        return []
    known = benchmark.subsets.get(games)
    told = f"{known}" if known else "how well these predict the score over all games is not known"
    return [f"{len(games)} of the {len(benchmark.games)} games of {benchmark.title}: {told}."]


def protocol_text(group: Group) -> str:
    """Such as `evaluation 'one-step' (32 episodes, seed 0, planning.evaluation=one-step)`.

    Empty if final evaluations are reported.
    """
    runs = [run for run in group.runs if run.protocol.evaluation != FINAL]
    if not runs:
        return ""
    names = " and ".join(sorted({repr(run.protocol.evaluation) for run in runs}))
    changed = [changes_text(run.protocol.changes) for run in runs]
    played = (
        f"{either(run.episodes for run in runs)} episodes",
        f"seed {either(run.protocol.seed for run in runs)}",
        *filter(None, dict.fromkeys(changed)),
    )
    return f"evaluation {names} ({', '.join(played)})"


def listed(numbers: Sequence[int]) -> str:
    """Formats increasing numbers, such as `0 to 4`, `0, 3, 7`."""
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def sessions_by(runs: Iterable[Run], text: Callable[[Mapping[str, Any]], str]) -> Counter[str]:
    """The number of runs with a session of each `text`. A run can count several times."""
    texts = (dict.fromkeys(text(session) for session in run.sessions or ({},)) for run in runs)
    return Counter(itertools.chain.from_iterable(texts))


def counts_text(found: Counter[str], joint: str = ", ") -> str:
    """The texts by frequency, with numbers of runs if one does not apply to all."""
    if len(found) == 1:
        return next(iter(found)) or "none"
    return joint.join(
        f"{text or 'none'} ({counted(number, 'run')})" for text, number in found.most_common()
    )


def device_text(session: Mapping[str, Any]) -> str:
    """Such as `AMD EPYC in float32`."""
    device = str(session.get("device_name", "unknown"))
    return f"{device} in {session['precision']}" if session.get("precision") else device


def library_text(session: Mapping[str, Any]) -> str:
    """Such as `ONEDNN_MAX_CPU_ISA=AVX2`; empty if no variable was set."""
    found = session.get("libraries")
    known = found if isinstance(found, dict) else {}
    return " ".join(f"{key}={value}" for key, value in known.items() if key != "cpu_capability")


def package_text(session: Mapping[str, Any]) -> str:
    """Such as `PyTorch 2.13.0, Numba 0.61.0, NumPy 2.4.6, ale-py 0.12.1`."""
    found = session.get("packages")
    known = found if isinstance(found, dict) else {}
    texts = [f"{name} {known[package]}" for package, name in PACKAGES.items() if known.get(package)]
    return ", ".join(texts) or "unknown packages"


def version_text(session: Mapping[str, Any]) -> str:
    """Such as `ezcli 0.1.0 (ee7f7df, changed)`."""
    git = session.get("git")
    commit = ""
    if isinstance(git, dict) and git.get("commit"):
        commit = f" ({str(git['commit'])[:7]}{', changed' if git.get('dirty') else ''})"
    return f"ezcli {session.get('ezcli', 'of unknown version')}{commit}"


def either(values: Iterable[int]) -> str:
    """Such as `32` or `32 or 100`."""
    return " or ".join(f"{value:,}" for value in sorted(set(values)))
