"""Assembles windows and targets into a batch on the run's device."""

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ezcli.efficientzero.batch import Batch, Targets, Window
from ezcli.efficientzero.frames import FrameStore, augment, augmentation_noise
from ezcli.efficientzero.hyperparameters import LossSettings
from ezcli.efficientzero.inference import to_network_input
from ezcli.efficientzero.replay import Replay

Record = TypeVar("Record", Window, Targets)


def take(record: Record, batch: int, batch_size: int) -> Record:
    """The rows of batch number `batch` in a record of several consecutive batches."""
    rows = slice(batch * batch_size, (batch + 1) * batch_size)
    return type(record)(*(array[rows] for array in record))


def make_batch(
    window: Window,
    targets: Targets,
    replay: Replay,
    frames: FrameStore,
    settings: LossSettings,
    rng: np.random.Generator,
) -> Batch:
    """Gathers and augments the observations of B windows, and moves the targets to their device."""
    positions = settings.unroll_steps + 1
    rows = window.rows[:, :positions].reshape(-1)
    stored = frames.observations(replay.stack_rows(rows))
    if settings.augmentation:
        noise = augmentation_noise(rng, len(rows), settings.shift_pixels, settings.intensity_scale)
        images = augment(stored, *noise)
    else:
        images = to_network_input(stored)

    def to_device(array: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(images.device, dtype)

    return Batch(
        observations=images.unflatten(0, (-1, positions)),
        actions=to_device(window.actions, torch.int64),
        is_state=to_device(window.is_state[:, :positions]),
        value_prefix=to_device(targets.value_prefix),
        value=to_device(targets.value),
        policy=to_device(targets.policy),
        has_policy=to_device(targets.has_policy),
        weights=to_device(window.weights),
        frames=stored.unflatten(0, (-1, positions)),
    )
