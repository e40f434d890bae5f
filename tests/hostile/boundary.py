"""Calls `ez` in this process with hostile input, and defines acceptable results."""

import io
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from ezcli import cli
from ezcli.envs.make import make_env
from ezcli.errors import EzError


class Answer(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str
    trained: list  # (config, folder) of what would have been trained


class Nobody(io.StringIO):
    """Standard input with nobody at it."""

    def isatty(self):
        return False


@contextmanager
def streams():
    """Standard output and error as a process has them: one strict, one never failing."""
    out, err = io.BytesIO(), io.BytesIO()
    strict = io.TextIOWrapper(out, "utf-8", write_through=True)
    lenient = io.TextIOWrapper(err, "utf-8", "backslashreplace", write_through=True)
    with (
        mock.patch.object(sys, "stdout", strict),
        mock.patch.object(sys, "stderr", lenient),
        mock.patch.object(sys, "stdin", Nobody()),
    ):
        yield out, err


@contextmanager
def inside(folder):
    """Works in a folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def ez(*arguments, at):
    """Runs a command in the folder `at`, with training, playing and measuring left out."""
    trained = []

    def train(config, folder, reporter, wandb=None, origin=None):
        if config.env.name == "custom":
            make_env(config.env, evaluation=False)
        if folder.exists:
            folder.require_same(config)
        trained.append((config, folder))

    with (
        streams() as (out, err),
        inside(at),
        mock.patch("ezcli.runs.train.train", train),
        mock.patch("ezcli.runs.scoring.evaluate", unreachable),
        mock.patch("ezcli.runs.watch.play", unreachable),
        mock.patch("ezcli.experiments.estimate.measure", return_value=None),
        mock.patch("ezcli.commands.bench.measure", bench),
        mock.patch("ezcli.commands.cost.estimate", cost),
        mock.patch.object(sys, "argv", ["ez", *map(str, arguments)]),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        text = [stream.getvalue().decode() for stream in (out, err)]
    return Answer(code, *text, trained)


def unreachable(*_, **__):
    raise EzError("EZ-ENV-CONTRACT", "Here it would play.")


def bench(config, preset, parts, seconds, quiet):
    """A result of `ez bench` without any figure."""
    about = {"preset": preset, "game": config.env_label, "device_name": "a", "measured": "now"}
    return about | {"precision": "float32", "results": [], "seconds": seconds}


def cost(config, preset, price_per_hour, watts, measure, quiet):
    """What `ez cost` says of a run, without counting anything."""
    amounts = ("decisions", "train_steps", "asked", "searched", "simulations", "batch_size")
    macs = ("initial_inference", "recurrent_inference", "search", "train_step", "env_step", "run")
    games = ("interim_games", "final_games", "training_level_games")
    return {
        "preset": preset,
        "game": config.env_label,
        "evaluations": dict.fromkeys(games, 1),
        "parameters": {"total": 1},
        "macs": dict.fromkeys(macs, 1),
        "macs_of_run": {"acting": 0, "learning": 0},
        "amounts": dict.fromkeys(amounts, 1),
    }


RAW = ("Traceback", "pydantic", "validation error", "For further information", "Error(", "<class")


def check(answer):
    """Done; or refused in one sentence, with the way out on a line of its own."""
    assert answer.code in (0, 1, 2), answer
    assert not any(word in answer.err for word in RAW), answer.err
    if answer.code == 0:
        assert "rror:" not in answer.err, answer.err
        return answer
    *_, last = [line for line in answer.err.splitlines() if line]
    if answer.err.startswith("Usage:") and "Show this message and exit." in answer.err:
        return answer  # the help, for want of a command or of any option
    if answer.err.startswith("Usage:"):
        assert last.startswith("Error: "), answer.err
        assert answer.code == 2
        return answer
    lines = answer.err[answer.err.index("error: ") :].splitlines()
    assert len(lines) <= 2, answer.err
    assert lines[0][-1] in ".)", answer.err
    assert max(map(len, lines)) < 20_000, answer.err
    assert not answer.trained
    return answer
