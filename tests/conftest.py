"""What every test may use."""

import pytest
import torch

from ezcli.config import RunConfig, preset_path, read_toml, resolve

torch.set_num_threads(1)  # as a run does: results must not depend on the machine's cores


@pytest.fixture
def tiny_config() -> RunConfig:
    """The preset `smoke`: every part is there, and small."""
    return resolve(read_toml(preset_path("smoke")))
