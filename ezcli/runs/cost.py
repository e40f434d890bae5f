"""The cost of a run: hours, main memory and disk, from its config and from measurements.

Memory and disk are bounded by the config alone (`needs`). Hours come from finished runs: those with
the same settings except seed and game, or else the most similar ones, scaled by train_steps
(`from_finished_runs`). Without any, each part of a run's work is timed at its full size and
multiplied by its count (`from_pieces`). Loads neither PyTorch nor Numba.
"""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ezcli.config.run import RunConfig, differences, settings_of_agent
from ezcli.envs.suites import suite_of
from ezcli.errors import EzError
from ezcli.runs.evaluations import is_number
from ezcli.runs.folder import RunFolder

GIB = 2**30
FRAME_ON_DISK = 500  # bytes; the largest compressed frame seen on Atari


class Cost(NamedTuple):
    """The cost of one run."""

    hours: float | None  # None: not measured
    memory_bytes: int  # main memory, with a full replay
    disk_bytes: int  # size of the finished run's folder
    device_memory_bytes: int | None = None  # on a GPU
    shares: dict[str, float] | None = None  # acting, reanalysis, learning, evaluation


class Finished(NamedTuple):
    """A run whose cost was measured."""

    config: RunConfig
    cost: Cost


class Seconds(NamedTuple):
    """Time of each piece of work."""

    env_step: float  # one env_step of one environment, all of them in lock step
    decision: float  # the plan of one environment, searched together with the others
    search: float  # a search of one state for targets, while all threads search
    evaluation: float  # an evaluation of one state for targets
    train_step: float  # one train_step, with its batch gathered and augmented
    game_step: float  # one env_step of one evaluation game, with batched searches


class Pieces(NamedTuple):
    """Measurements of the parts of a run's work."""

    seconds: Seconds
    threads: int  # threads that search
    cores: int  # cores of the machine
    memory_bytes: int  # main memory, with an empty replay
    device_memory_bytes: int | None  # on a GPU
    frame_bytes: int
    checkpoint_bytes: int
    game_env_steps: float  # length of a game in an evaluation, measured with random play


def needs(config: RunConfig) -> Cost:
    """Approximate upper bounds of memory on a CPU and of disk, without measurements.

    A train_step needs seven times its batch's images in float32, and everything else 1 GiB
    (`benchmarks/memory.py`: 8.2 GiB for `atari100k`, 0.7 for `atari-cpu`).
    """
    env, loss = config.env, config.loss
    frame = suite_of(env).frame_bytes(env)
    images = 7 * 4 * loss.batch_size * (loss.unroll_steps + 1) * env.frame_stack * frame
    disk = disk_of_run(config, frame, checkpoint=GIB // 4)
    return Cost(None, memory_of_run(config, frame, images + GIB), disk)


def memory_of_run(config: RunConfig, frame: int, rest: int) -> int:
    """Bytes of main memory: a full replay with frames of `frame` bytes, and the rest."""
    return config.replay.capacity * frame + rest


def disk_of_run(config: RunConfig, frame: int, checkpoint: int) -> int:
    """Approximate bytes of a finished run's folder: compressed frames and kept checkpoints."""
    interval = config.record.keep_interval
    for_good = config.schedule.train_steps // interval if interval else 0
    kept = config.record.keep_checkpoints + for_good
    return config.replay.capacity * min(frame, FRAME_ON_DISK) + kept * checkpoint


def checkpoint_bytes(config: RunConfig, parameters: int, actions: int) -> int:
    """Approximate bytes of a checkpoint.

    It contains each parameter of four bytes for learning, acting, and present and next targets, and
    once or twice in the optimiser. For each state it contains 70 bytes, and 8 bytes per action.
    """
    copies = 6 if config.optimiser.name == "adam" else 5
    return copies * 4 * parameters + config.replay.capacity * (70 + 8 * actions)


def from_pieces(config: RunConfig, pieces: Pieces) -> Cost:
    """The cost of a run that consists of these parts, including its evaluations.

    A CPU learns in one thread while it collects in another and then searches in all others: the
    longest of these determines the time of a cycle. On a GPU all work is assumed to be sequential,
    which is an upper bound, and the replay is in its memory. Evaluations interrupt the cycles.
    """
    from ezcli.runs.workload import draws, evaluations  # lazy: loads PyTorch

    schedule, times, found = config.schedule, pieces.seconds, draws(config)
    on_gpu = pieces.device_memory_bytes is not None
    threads = 1 if on_gpu else pieces.threads
    cores = min(threads, pieces.cores)
    collects = (found.train_step < schedule.collecting_train_steps)[:, None]
    each = schedule.env_steps_per_cycle * (times.env_step + times.decision)
    acting = np.broadcast_to(np.where(collects, each, 0.0), found.searched.shape)
    learning = np.full(found.searched.shape, schedule.sample_ahead * times.train_step)
    reanalysis = found.searched * times.search + found.evaluated * times.evaluation
    cycles = (learning + acting) / cores + reanalysis
    if threads > 1:
        cycles = np.maximum(cycles, np.maximum(learning, acting + reanalysis))
    decisions = schedule.random_env_steps - config.random_play  # before learning
    before = schedule.random_env_steps * times.env_step + decisions * times.decision
    evaluation = sum(evaluations(config)) * pieces.game_env_steps * times.game_step
    whole = before + found.times * cycles.sum() + evaluation
    work = {"acting": acting, "reanalysis": cores * reanalysis, "learning": learning}
    sums = {name: float(found.times * part.sum()) for name, part in work.items()}
    sums["evaluation"] = evaluation
    frame, memory = pieces.frame_bytes, pieces.memory_bytes
    return Cost(
        hours=float(whole) / 3600,
        memory_bytes=memory if on_gpu else memory_of_run(config, frame, memory),
        disk_bytes=disk_of_run(config, frame, pieces.checkpoint_bytes),
        device_memory_bytes=pieces.device_memory_bytes,
        shares={name: part / max(sum(sums.values()), 1e-30) for name, part in sums.items()},
    )


def from_finished_runs(config: RunConfig, evidence: Mapping[str, list[Finished]]) -> Cost | None:
    """Estimates the cost of a run with this config; None without evidence.

    From runs with the same settings except seed and game: mean hours and disk, largest memory.
    Otherwise from runs with the fewest differences, scaled by train_steps.

    Args:
      config: of the run.
      evidence: finished runs `by_agent`.
    """
    same = evidence.get(agent_key(config))
    if not same:
        every = [run for runs in evidence.values() for run in runs]
        alike = [run for run in every if is_alike(run.config, config)] or every
        if not alike:
            return None
        nearest = min(alike, key=lambda run: len(differences(run.config, config)))
        same = evidence[agent_key(nearest.config)]
    costs = [run.cost for run in same]
    scale = config.schedule.train_steps / same[0].config.schedule.train_steps
    return Cost(
        scale * sum(cost.hours or 0.0 for cost in costs) / len(costs),
        max(cost.memory_bytes for cost in costs),
        round(scale * sum(cost.disk_bytes for cost in costs) / len(costs)),
    )


def by_agent(runs: Iterable[Finished]) -> dict[str, list[Finished]]:
    """Groups runs by all settings except seed and game."""
    groups: dict[str, list[Finished]] = {}
    for run in runs:
        groups.setdefault(agent_key(run.config), []).append(run)
    return groups


def agent_key(config: RunConfig) -> str:
    """A key that is equal for configs that differ only in seed and game."""
    return json.dumps(settings_of_agent(config), sort_keys=True)


def is_alike(one: RunConfig, other: RunConfig) -> bool:
    """Whether a train_step takes about the same time with both configs."""
    return work_of_train_step(one) == work_of_train_step(other)


def work_of_train_step(config: RunConfig) -> tuple[object, ...]:
    """The settings that determine the work of a train_step."""
    search, loss = config.search.num_simulations, (config.loss.batch_size, config.loss.unroll_steps)
    return config.env.name, config.network, config.reanalyse, config.planning, search, loss


def finished_runs(runs_dir: Path, names: Iterable[str]) -> list[Finished]:
    """The finished runs among `names` whose sessions all have recorded times."""
    found = []
    for name in names:
        folder = RunFolder(runs_dir / name)
        try:
            sessions = folder.sessions()
            seconds = [session.get("seconds") for session in sessions]
            memory = [session.get("peak_memory_bytes") for session in sessions]
            known = [number for number in (*seconds, *memory) if is_number(number) and number >= 0]
            if folder.read_info().get("status") != "finished" or not sessions:
                continue
            if len(known) < 2 * len(sessions):
                continue  # a session has no recorded time
            config = folder.config()
            if config.start.agent:
                continue  # its sessions trained only a part of it
            hours, most = sum(known[: len(sessions)]) / 3600, round(max(known[len(sessions) :]))
            found.append(Finished(config, Cost(hours, most, folder_bytes(folder.path))))
        except EzError:
            continue  # damaged runs are ignored
    return found


def folder_bytes(path: Path) -> int:
    """Size of all files in a folder, ignoring files that a running process removes."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total
