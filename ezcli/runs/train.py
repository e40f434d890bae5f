"""A whole run as a generator: turns the trainer's events into files, scores and checkpoints.

The run advances as its events are taken. Closing the generator saves the run, like an interruption.

Clocks, signals and the disk are used here and in called modules. The trainer uses none of them.
"""

import signal
import time
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from math import inf
from typing import Any

from ezcli.config.run import RunConfig
from ezcli.efficientzero.squash import largest_value
from ezcli.errors import EzError, NotFinite
from ezcli.runs import failure
from ezcli.runs.compute import Compute, resolve_compute, warm_up_search
from ezcli.runs.device_check import checked
from ezcli.runs.folder import CONFIG, METRICS, RECORDS, TIMING, RunFolder
from ezcli.runs.machine_errors import disk_errors, memory_errors
from ezcli.runs.playable import require_playable
from ezcli.runs.provenance import note_code, now, other_bits, peak_memory, provenance
from ezcli.runs.rates import Clock
from ezcli.runs.resume import is_saved, resume, save
from ezcli.runs.scoring import finish_evaluations
from ezcli.runs.session import Reporter, RunEvent, Session, StopRequest
from ezcli.runs.stall import Watchdog
from ezcli.runs.trackers.protocol import Tracking
from ezcli.runs.tracking import Trackers, require_trackers
from ezcli.runs.trainer import Trainer
from ezcli.words import ez_command


def train(
    config: RunConfig,
    folder: RunFolder,
    reporter: Reporter,
    tracking: Tracking = Tracking(),  # noqa: B008 - a value
    origin: dict[str, Any] | None = None,
) -> signal.Signals | None:
    """Trains to the end or until a signal; returns the signal that stopped the run, if one did.

    The arguments and errors are those of `training`.
    """
    stop = StopRequest(reporter)
    for _ in training(config, folder, reporter, stop, tracking, origin):
        pass
    return stop.signal


def training(
    config: RunConfig,
    folder: RunFolder,
    reporter: Reporter,
    stop: StopRequest,
    tracking: Tracking = Tracking(),  # noqa: B008 - a value
    origin: dict[str, Any] | None = None,
    listens: bool = True,
) -> Generator[RunEvent, None, None]:
    """Starts or continues the run in `folder`, and yields after every cycle.

    Args:
      config: config of the run.
      folder: created if it does not exist.
      reporter: receives messages and progress.
      stop: requests a stop; at the end it has the signal that stopped the run.
      tracking: trackers that receive its metrics.
      origin: entries for `run.json` on the source of the config.
      listens: whether to catch signals; otherwise the caller must.

    Raises:
      EzError: the folder belongs to another config or process, or the run failed.
    """
    require_trackers(tracking)
    compute = resolve_compute(config.compute)
    # An environment that cannot be played must not leave a run behind.
    advice = require_playable(config)
    go_on = f"continue with: {ez_command('resume', folder.path)}"
    with folder.lock(), disk_errors(folder, go_on), memory_errors(go_on):
        if folder.exists:
            config = folder.require_same(config)
            if folder.read_info().get("status") == "finished":
                folder.require_whole(*RECORDS)
                reporter.say(f"{folder.name} is already finished.")
                return
        folder.create(config)
        if origin:
            folder.update_info(**origin)
        note_code(folder, config, reporter.say)
        for sentence in advice:
            reporter.say(sentence)
        with (
            stop.listening() if listens else nullcontext(),
            Watchdog(folder, reporter.say) as watchdog,
        ):
            yield from _training(config, compute, folder, reporter, stop, watchdog, tracking)


def _training(
    config: RunConfig,
    compute: Compute,
    folder: RunFolder,
    reporter: Reporter,
    stop: StopRequest,
    watchdog: Watchdog,
    tracking: Tracking,
) -> Iterator[RunEvent]:
    clock, began = time.monotonic(), now()
    with reporter.quiet_while("Loading the game and compiling the search"):
        said = warm_up_search()
        compute, device_check, failures = checked(compute, config)
        trainer = Trainer(config, compute)
    for sentence in (*said, *failures):
        reporter.say(sentence)
    resume(trainer, folder, reporter)
    info, before = folder.read_info(), folder.sessions()
    entry = {"started": began, "env_steps": trainer.replay.env_steps, **provenance(compute)}
    if device_check is not None:
        entry["device_check"] = device_check
    differing = other_bits(before[-1], entry) if before else ""
    if differing:
        reporter.say(
            "This session rounds differently from the one before, so the run is not bit-exact "
            f"({differing})."
        )
    git = entry["git"]
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
        sessions=[*before, entry],
        seals=folder.seals([CONFIG]),
    )
    failure.clear(folder)
    trackers = Trackers(tracking, folder, config, reporter.say)
    session = Session(folder, reporter, stop, watchdog, trackers)
    status, reason = "failed", None
    try:
        yield from events(trainer, session)
        status = "interrupted" if stop else "finished"
    except GeneratorExit:  # no one takes the events any more, and the run is saved
        status = "interrupted"
        raise
    except KeyboardInterrupt:
        reason = "ended by a second Ctrl-C"
        raise
    except Exception as error:  # recorded, whatever it is, and raised again
        reason = error.message if isinstance(error, EzError) else f"{type(error).__name__}: {error}"
        if isinstance(error, NotFinite):
            failure.write(folder, error.message, trainer)
            kept = f"For details: {ez_command('doctor', folder.path)}"
            raise NotFinite("EZ-RUN-NOT-FINITE", error.message, kept) from error
        raise
    finally:
        trackers.close()
        entry["seconds"] = round(time.monotonic() - clock, 1)
        entry["peak_memory_bytes"] = peak_memory()
        folder.update_info(
            status=status,
            error=reason,
            ended=now(),
            sessions=[*before, entry],
            seals=folder.seals(),
        )
    if status == "finished":
        stop.signal = None  # a later signal did not stop it


def events(trainer: Trainer, session: Session) -> Iterator[RunEvent]:
    """Handles each event of the trainer, and yields it. Ends with a checkpoint."""
    folder, reporter, stop, watchdog, trackers = session
    config, clock = trainer.config, Clock(trainer, folder)
    saved_at, limit = time.monotonic(), largest_value(config.value.support)
    try:
        found = finish_evaluations(trainer, session)  # due when the previous session ended
        if found:
            yield RunEvent(trainer.env_steps, trainer.train_steps, None, found)
        for event in trainer.events() if not stop else ():
            watchdog.beat()
            rates = clock.rates(event)
            if trainer.largest_target > limit:
                reporter.say(beyond_support(config, trainer.largest_target, limit))
                limit = inf  # reported once
            if event.metrics is not None:
                folder.append(METRICS, event.metrics)
                folder.append(TIMING, clock.line(event, rates))
                trackers.log("metrics", event.train_steps, event.metrics)
            reporter.progress(event, config, rates)
            found = finish_evaluations(trainer, session)
            if stop:
                break
            is_due = time.monotonic() - saved_at >= 60 * config.record.checkpoint_minutes
            if is_due or config.record.keeps(event.train_steps):
                save(trainer, folder)
                saved_at = time.monotonic()
            yield RunEvent(event.env_steps, event.train_steps, event.metrics, found)
    except GeneratorExit:
        pass  # and saved, as after a signal
    if trainer.is_started and not is_saved(trainer, folder):
        save(trainer, folder)


def beyond_support(config: RunConfig, largest: float, limit: float) -> str:
    """Explains a target that is larger than the support can represent."""
    clip = "" if config.env.clip_rewards else ", or with env.clip_rewards = true"
    return (
        f"A value target of {largest:,.6g} is larger than value.support = {config.value.support} "
        f"can represent: all targets are clipped to ±{limit:,.6g}. Train under another --name "
        f"with a larger value.support{clip}."
    )
