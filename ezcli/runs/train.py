"""A whole run: the trainer's events turned into files, scores and checkpoints.

What looks at a clock, a signal or the disk while training is here, or called from here.
"""

import errno
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from math import inf
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol

from ezcli.config import RunConfig
from ezcli.efficientzero.squash import largest_value
from ezcli.envs.code import code_of, locate
from ezcli.envs.make import make_env
from ezcli.envs.settings import CustomSettings
from ezcli.errors import EzError, NotFinite, RunError
from ezcli.runs import checkpoint, failure
from ezcli.runs.agent import load_agent
from ezcli.runs.checkpoint import Checkpoint
from ezcli.runs.compute import Compute, memory_errors, resolve_compute, warm_up_search
from ezcli.runs.evaluate import (
    Evaluated,
    Stopped,
    evaluate,
    final_protocol,
    interim_protocol,
    normalised,
    summary,
)
from ezcli.runs.folder import CONFIG, EVALUATIONS, METRICS, RECORDS, TIMING, RunFolder
from ezcli.runs.provenance import other_bits, provenance
from ezcli.runs.stall import Watchdog
from ezcli.runs.tracking import Tracker, WandbMode
from ezcli.runs.trainer import Event, Trainer
from ezcli.words import counted, ez_command

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
CANNOT_WRITE = FULL | {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE}


class Rates(NamedTuple):
    """How fast it goes, over the last half minute or so."""

    env_steps_per_second: float
    train_steps_per_second: float
    seconds_left: float | None


class Reporter(Protocol):
    """Where a run says how it is doing. It raises nothing: when nobody hears it, it says so."""

    @property
    def lost_output(self) -> Exception | None:
        """Why nobody hears it any more; the run then saves and ends."""

    def say(self, text: str) -> None:
        """One line that stays."""

    def progress(self, event: Event, config: RunConfig, rates: Rates) -> None:
        """The state after a cycle."""

    def quiet_while(self, what: str) -> AbstractContextManager[None]:
        """Something long without events, such as an evaluation."""


class StopRequest:
    """Set by a signal or lost output; the run saves and ends at the next moment that allows it."""

    # Ctrl-C, a polite end, a closed terminal; and what schedulers send before a time limit.
    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

    def __init__(self, reporter: Reporter | None = None) -> None:
        self.signal: signal.Signals | None = None
        self.reporter = reporter

    def __bool__(self) -> bool:
        is_heard = self.reporter is None or self.reporter.lost_output is None
        return self.signal is not None or not is_heard

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catches the signals; a second Ctrl-C ends the process at once."""

        def request(number: int, _frame: FrameType | None) -> None:
            self.signal = signal.Signals(number)
            signal.signal(signal.SIGINT, signal.default_int_handler)

        before = {
            number: signal.signal(number, request)
            for number in self.SIGNALS
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN  # nohup
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Surroundings(NamedTuple):
    """What a run has around its trainer."""

    folder: RunFolder
    reporter: Reporter
    stop: StopRequest
    watchdog: Watchdog
    tracker: Tracker


def train(
    config: RunConfig,
    folder: RunFolder,
    reporter: Reporter,
    wandb_mode: WandbMode | None = None,
    origin: dict[str, str] | None = None,
) -> signal.Signals | None:
    """Starts or goes on with the run in `folder`; returns the signal that stopped it, if one did.

    Args:
      config: everything that decides the result.
      folder: made if it is not there.
      reporter: told how it goes.
      wandb_mode: None, `offline` or `online`.
      origin: entries for `run.json` that say where the config came from.

    Raises:
      EzError: the folder belongs to another config or process, or the run failed.
    """
    compute = resolve_compute(config.compute)
    # What cannot be played leaves no run behind.
    spec = make_env(config.env, evaluation=False).spec
    make_env(config.env, evaluation=True).require_like(spec)
    go_on = f"go on with: {ez_command('resume', folder.path)}"
    with folder.lock(), disk_errors(folder, go_on), memory_errors(go_on):
        if folder.exists:
            config = folder.require_same(config)
            if folder.read_info().get("status") == "finished":
                folder.require_whole(*RECORDS)
                reporter.say(f"{folder.name} is finished already.")
                return None
        folder.create(config)
        if origin:
            folder.update_info(**origin)
        note_code(folder, config, reporter.say)
        stop = StopRequest(reporter)
        with stop.listening(), Watchdog(folder, reporter.say) as watchdog:
            return _train(config, compute, folder, reporter, stop, watchdog, wandb_mode)


def note_code(folder: RunFolder, config: RunConfig, say: Callable[[str], None]) -> None:
    """Keeps the code of an environment of one's own in `run.json`, if the config does not hold it.

    Configs of version 0.1.0 do not.

    Raises:
      ConfigError: the code is not what was kept.
    """
    env = config.env
    if not isinstance(env, CustomSettings) or env.code:
        return
    noted = folder.noted_code()
    target = locate(env.target, noted)
    if noted:
        return
    if folder.sessions():
        say(f"{folder.name} does not say of which code {target!r} was; from now on it does.")
    folder.update_info(code=code_of(target))


@contextmanager
def disk_errors(folder: RunFolder, go_on: str) -> Iterator[None]:
    """Turns what a disk does to a run into sentences.

    Args:
      folder: of the run.
      go_on: how to go on once that is mended, as the end of a sentence.

    Raises:
      RunError: the folder cannot be written, or something in it is gone.
    """
    try:
        yield
    except OSError as error:
        if error.errno in CANNOT_WRITE:
            way_out = "Make room" if error.errno in FULL else "Make it writable"
            raise RunError(
                "EZ-RUN-NOT-WRITABLE",
                f"{str(folder.path)!r} cannot be written: {error.strerror}.",
                f"{way_out}, then {go_on}",
            ) from error
        if error.errno in GONE and Path(error.filename or "").is_relative_to(folder.path):
            what = Path(error.filename) if folder.exists else folder.path
            raise RunError(
                "EZ-RUN-GONE",
                f"{str(what)!r} is gone: it was removed or renamed while the run needed it.",
                f"Put it back, then {go_on}",
            ) from error
        raise


def _train(
    config: RunConfig,
    compute: Compute,
    folder: RunFolder,
    reporter: Reporter,
    stop: StopRequest,
    watchdog: Watchdog,
    wandb_mode: WandbMode | None,
) -> signal.Signals | None:
    clock, began = time.monotonic(), now()
    with reporter.quiet_while("Loading the game and compiling the search"):
        said = warm_up_search()
        trainer = Trainer(config, compute)
    for sentence in said:
        reporter.say(sentence)
    resume(trainer, folder, reporter)
    info, before = folder.read_info(), folder.sessions()
    session = {"started": began, "env_steps": trainer.replay.env_steps, **provenance(compute)}
    differing = other_bits(before[-1], session) if before else ""
    if differing:
        reporter.say(
            f"This session computes other bits than the one before, so the run is not bit-exact "
            f"({differing})."
        )
    git = session["git"]
    if git is not None and git["commit"] is None:
        reporter.say(f"The commit of ezcli is not recorded: {git['unknown']}.")
    folder.update_info(
        name=folder.name,
        identity=config.identity,
        status="running",
        started=info.get("started", began),
        ended=None,
        error=None,
        environment=trainer.envs.spec.contract,
        actions=list(trainer.envs.spec.action_names),
        sessions=[*before, session],
        seals=folder.seals([CONFIG]),
    )
    failure.clear(folder)
    tracker = Tracker(wandb_mode, folder, config, reporter.say)
    surroundings = Surroundings(folder, reporter, stop, watchdog, tracker)
    status, reason = "failed", None
    try:
        finish_evaluations(trainer, surroundings)
        loop(trainer, surroundings)
        status = "interrupted" if stop else "finished"
    except KeyboardInterrupt:
        reason = "ended by a second Ctrl-C"
        raise
    except Exception as error:  # noted, whatever it is, and raised again
        reason = error.message if isinstance(error, EzError) else f"{type(error).__name__}: {error}"
        if isinstance(error, NotFinite):
            failure.write(folder, error.message, trainer)
            kept = f"What led there is kept: {ez_command('doctor', folder.path)}"
            raise NotFinite("EZ-RUN-NOT-FINITE", error.message, kept) from error
        raise
    finally:
        tracker.close()
        session["seconds"] = round(time.monotonic() - clock, 1)
        session["peak_memory_bytes"] = peak_memory()
        folder.update_info(
            status=status,
            error=reason,
            ended=now(),
            sessions=[*before, session],
            seals=folder.seals(),
        )
    return stop.signal if status == "interrupted" else None  # one that came later stopped nothing


def loop(trainer: Trainer, surroundings: Surroundings) -> None:
    """Drains the trainer's events; ends with a checkpoint."""
    folder, reporter, stop, watchdog, tracker = surroundings
    config, clock = trainer.config, Clock(trainer, folder)
    saved_at, limit = time.monotonic(), largest_value(config.value.support)
    for event in trainer.events() if not stop else ():
        watchdog.beat()
        rates = clock.rates(event)
        if trainer.largest_target > limit:
            reporter.say(beyond_support(config, trainer.largest_target, limit))
            limit = inf  # said once
        if event.metrics is not None:
            folder.append(METRICS, event.metrics)
            folder.append(TIMING, clock.line(event, rates))
            tracker.log("metrics", event.train_steps, event.metrics)
        reporter.progress(event, config, rates)
        finish_evaluations(trainer, surroundings)
        if stop:
            break
        if time.monotonic() - saved_at >= 60 * config.record.checkpoint_minutes:
            save(trainer, folder)
            saved_at = time.monotonic()
    if trainer.is_started and not is_saved(trainer, folder):
        save(trainer, folder)


def beyond_support(config: RunConfig, largest: float, limit: float) -> str:
    """What it means that a target is larger than the support can represent, in sentences."""
    clip = "" if config.env.clip_rewards else " or set env.clip_rewards = true"
    return (
        f"A value target of {largest:,.6g} is larger than value.support = {config.value.support} "
        f"represents: all targets beyond ±{limit:,.6g} are learnt as that. "
        f"Raise value.support{clip} in a run of another --name."
    )


def save(trainer: Trainer, folder: RunFolder) -> None:
    """Writes a checkpoint; from the first one on `run.json` knows that there must be one."""
    checkpoint.save(trainer, folder)
    if not folder.read_info().get("has_checkpoint"):
        folder.update_info(has_checkpoint=True)


def is_saved(trainer: Trainer, folder: RunFolder) -> bool:
    """Whether the newest checkpoint holds the trainer's state already."""
    paths = checkpoint.checkpoint_paths(folder)
    expected = checkpoint.checkpoint_name(trainer)
    return bool(paths) and paths[-1].name == expected


def resume(trainer: Trainer, folder: RunFolder, reporter: Reporter) -> None:
    """Restores the newest whole checkpoint and drops the lines that came after it."""
    found, complaints = checkpoint.newest(folder)
    for complaint in complaints:
        reporter.say(f"{complaint} Going back to the checkpoint before.")
    if found is not None:
        checkpoint.restore(trainer, found, folder)
        checkpoint.drop_after(found, folder)
        env_steps, train_steps = found.manifest["env_steps"], found.manifest["train_steps"]
        reporter.say(f"Going on from env_step {env_steps:,}, train_step {train_steps:,}.")
    elif folder.read_info().get("has_checkpoint"):
        raise RunError(
            "EZ-CHECKPOINT-GONE",
            f"{folder.name!r} has saved checkpoints, and none is in {str(folder.checkpoints)!r}.",
            "Put them back, or train again under another --name.",
        )
    elif folder.sessions():
        folder.make_folders()
        reporter.say(f"{folder.name!r} has no checkpoint any more: starting anew.")
    drop_lines(found, folder, reporter)


def drop_lines(found: Checkpoint | None, folder: RunFolder, reporter: Reporter) -> None:
    """Drops the lines that the checkpoint does not know, but scores that were asked for by hand.

    Raises:
      RunError: lines that are to stay are damaged.
    """
    broken = folder.broken_seals()
    is_old = found is not None and "records" not in found.manifest  # knows no lines
    if is_old:
        folder.require_whole(*RECORDS)
    folder.update_info(seals=folder.seals([CONFIG]))  # before the sealed lines change
    for file in RECORDS:
        start = 0
        if found is not None and not is_old:
            start = found.manifest["records"][file]["bytes"]
        if is_old and found is not None:
            folder.keep_lines(file, start, partial(is_before, found))
        elif file in broken:
            reporter.say(f"{str(folder.path / file)!r} is damaged after its first {start:,} bytes.")
            folder.keep_lines(file, start, None)
        else:
            folder.keep_lines(file, start, is_manual if file == EVALUATIONS else None)


def is_manual(line: dict[str, Any]) -> bool:
    """Whether a line of evaluations is of `ez evaluate`."""
    return line.get("kind") == "manual"


def is_before(found: Checkpoint, line: dict[str, Any]) -> bool:
    """Whether a line stays when a run goes on from a checkpoint that knows no lines."""
    steps = [line.get(name) for name in ("env_steps", "train_steps")]
    most = [found.manifest[name] for name in ("env_steps", "train_steps")]
    return is_manual(line) or all(
        isinstance(a, int) and a <= b for a, b in zip(steps, most, strict=True)
    )


def finish_evaluations(trainer: Trainer, surroundings: Surroundings) -> None:
    """Plays the evaluation that is due at this train_step, unless it is there already."""
    folder, reporter, stop, watchdog, tracker = surroundings
    config, train_steps = trainer.config, trainer.learner.train_steps
    interval = config.evaluation.interval
    if trainer.is_finished:
        kind, protocol = "final", final_protocol(config)
    elif train_steps and interval and train_steps % interval == 0:
        kind, protocol = "interim", interim_protocol(config, train_steps)
    else:
        return
    if any(
        line.get("train_steps") == train_steps and line.get("kind") == kind
        for line in folder.read(EVALUATIONS)
    ):
        return

    def should_stop() -> bool:
        watchdog.beat()  # asked before every env_step
        return bool(stop)

    episodes = counted(protocol.episodes, "episode")
    what = f"Evaluating: {episodes} of up to {protocol.max_env_steps:,} env_steps"
    try:
        with reporter.quiet_while(what) if kind == "final" else nullcontext():
            found = evaluate(
                trainer.learner.network, config, trainer.compute, protocol, should_stop
            )
    except Stopped:
        return
    line = evaluation_line(found, kind, trainer.replay.env_steps, train_steps, config)
    folder.append(EVALUATIONS, line)
    numbers = {"env_steps": line["env_steps"], f"evaluation/{kind}": line["mean"]}
    tracker.log(kind, train_steps, numbers)
    reporter.say(describe_evaluation(line))


def evaluation_line(
    found: Evaluated, kind: str, env_steps: int, train_steps: int, config: RunConfig
) -> dict[str, Any]:
    """A line of `evaluations.jsonl`."""
    numbers = summary(found.scores)
    return {
        "kind": kind,
        "env_steps": env_steps,
        "train_steps": train_steps,
        **numbers,
        "human_normalised": normalised(config, found),
        "protocol": found.protocol._asdict(),
        "scores": found.scores,
        "game_env_steps": found.env_steps,
    }


def describe_evaluation(line: dict[str, Any]) -> str:
    """The line in one sentence."""
    error = "" if line["standard_error"] is None else f" ± {line['standard_error']:.2f}"
    human = line["human_normalised"]
    return (
        f"{line['kind']} score at env_step {line['env_steps']:,}: {line['mean']:.2f}{error} "
        f"(median {line['median']:.2f}, {line['min']:.2f} to {line['max']:.2f}, "
        f"{counted(line['protocol']['episodes'], 'episode')})"
        + ("" if human is None else f", human-normalised {human:.3f}")
    )


def evaluate_run(
    folder: RunFolder,
    config: RunConfig,
    episodes: int | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Plays with the last weights of a run under the final protocol; adds the line to the run.

    Args:
      folder: of the run.
      config: of the run; the device may be another one.
      episodes: the config's number if None.
      say: told about checkpoints that are damaged.

    Raises:
      EzError: there is no whole checkpoint, or the run is being trained or is damaged.
    """
    go_on = "repeat the command."
    with folder.lock(), disk_errors(folder, go_on), memory_errors(go_on):
        folder.require_whole(EVALUATIONS)
        note_code(folder, config, say)
        return _evaluate_run(folder, config, episodes, say)


def _evaluate_run(
    folder: RunFolder, config: RunConfig, episodes: int | None, say: Callable[[str], None]
) -> dict[str, Any]:
    agent = load_agent(folder, config, say)
    played = evaluate(agent.network, config, agent.compute, final_protocol(config, episodes))
    line = evaluation_line(played, "manual", agent.env_steps, agent.train_steps, config)
    folder.append(EVALUATIONS, line)
    seals = folder.read_info().get("seals")
    if seals is not None:
        folder.update_info(seals=seals | folder.seals([EVALUATIONS]))
    return line


class Clock:
    """Rates of the recent past and the time that is left."""

    WINDOW = 30.0  # seconds

    def __init__(self, trainer: Trainer, folder: RunFolder) -> None:
        self.schedule = trainer.config.schedule
        self.began = time.monotonic()
        lines = folder.read(TIMING)
        seconds = lines[-1].get("seconds") if lines else None
        self.before = seconds if isinstance(seconds, float) else 0.0  # of the sessions before
        start = (self.began, trainer.replay.env_steps, trainer.learner.train_steps)
        self.marks = [start]

    def rates(self, event: Event) -> Rates:
        """Takes note of the event."""
        self.marks.append((time.monotonic(), event.env_steps, event.train_steps))
        while len(self.marks) > 2 and self.marks[-1][0] - self.marks[1][0] > self.WINDOW:
            self.marks.pop(0)
        (t0, env0, train0), (t1, env1, train1) = self.marks[0], self.marks[-1]
        seconds = max(t1 - t0, 1e-9)
        env_rate, train_rate = (env1 - env0) / seconds, (train1 - train0) / seconds
        left = (self.schedule.train_steps - train1) / train_rate if train_rate else None
        return Rates(env_rate, train_rate, left)

    def line(self, event: Event, rates: Rates) -> dict[str, Any]:
        """A line of `timing.jsonl`."""
        return {
            "env_steps": event.env_steps,
            "train_steps": event.train_steps,
            "seconds": round(self.before + time.monotonic() - self.began, 3),
            "env_steps_per_second": round(rates.env_steps_per_second, 3),
            "train_steps_per_second": round(rates.train_steps_per_second, 3),
        }


def peak_memory() -> int:
    """The most main memory that this process has held, bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
