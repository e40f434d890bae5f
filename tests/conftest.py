"""What every test may use."""

import sys

import pytest
import torch

from ezcli import cli
from ezcli.config import RunConfig, preset_path, read_toml, resolve

torch.set_num_threads(1)  # as a run does: results must not depend on the machine's cores


@pytest.fixture
def tiny_config() -> RunConfig:
    """The preset `smoke`: every part is there, and small."""
    return resolve(read_toml(preset_path("smoke")))


@pytest.fixture
def ez(monkeypatch, capsys, tmp_path):
    """Runs a command in this process, in an empty folder: (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["ez", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        streams = capsys.readouterr()
        return caught.value.code or 0, streams.out, streams.err

    return call
