"""All frames of a run as one tensor on the run's device; an observation is a gather.

Frames are uint8, or float32 if observations are vectors.

Frames are stored exactly, without encoding. Stacking is index arithmetic (`frames_back`), in the
replay of a run and in evaluation games. Shapes: R rows, n images, T stacked frames, C, H, W of one
frame.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class FrameStore:
    """R frames [R, C, H, W] of one type, each written once and read many times."""

    def __init__(
        self,
        rows: int,
        frame_shape: tuple[int, int, int],
        device: torch.device,
        frame_type: str = "uint8",
    ) -> None:
        dtype = getattr(torch, frame_type)
        self.frames = torch.empty((rows, *frame_shape), dtype=dtype, device=device)

    def write(self, row: int, frame: np.ndarray) -> None:
        """Stores `frame` [C, H, W] in `row`."""
        self.frames[row] = torch.from_numpy(np.ascontiguousarray(frame))

    def observations(self, stack_rows: np.ndarray) -> Tensor:
        """Stacked observations [n, T * C, H, W] from rows [n, T], oldest frame first."""
        index = torch.from_numpy(np.ascontiguousarray(stack_rows)).to(self.frames.device)
        stacked = self.frames[index]
        return stacked.flatten(1, 2)


class RecentFrames:
    """The newest T frames of each of several games played at the same time.

    Args:
      first: [C, H, W], the first frame of each game.
      depth: T.
      device: of the observations.
    """

    def __init__(self, first: Sequence[np.ndarray], depth: int, device: torch.device) -> None:
        channels, height, width = first[0].shape
        self.depth = depth
        self.age = np.zeros(len(first), np.int64)  # env_steps of each game
        shape, frame_type = (channels, height, width), first[0].dtype.name
        self.store = FrameStore(len(first) * depth, shape, device, frame_type)
        for game, frame in enumerate(first):
            self.store.write(game * depth, frame)

    def add(self, game: int, frame: np.ndarray) -> None:
        """Adds the next frame [C, H, W] of a game, and drops its oldest."""
        self.age[game] += 1
        self.store.write(game * self.depth + self.age[game] % self.depth, frame)

    def observations(self, games: Sequence[int]) -> Tensor:
        """Stacked observations [n, T * C, H, W] of `games` [n], oldest frame first."""
        age = self.age[games]
        shown = age[:, None] - frames_back(age, self.depth)
        return self.store.observations(np.array(games)[:, None] * self.depth + shown % self.depth)


def frames_back(age: np.ndarray, depth: int) -> np.ndarray:
    """How many env_steps ago the frames of an observation were seen, oldest first.

    An episode's first frame is repeated for times before it.

    Args:
      age: [...] env_steps since the episode's first state.
      depth: T.

    Returns:
      [..., T].
    """
    return np.minimum(np.arange(depth - 1, -1, -1), age[..., None])


def augment(images: Tensor, shift: np.ndarray, intensity: np.ndarray) -> Tensor:
    """Random shift and intensity (DrQ, Yarats et al. 2021; SPR, Schwarzer et al. 2021).

    Reading beyond an edge repeats the edge, which equals padding by replication and cropping back.

    Args:
      images: [n, C, H, W] uint8.
      shift: [n, 2] int64, pixels down and right.
      intensity: [n] float32, factor of the brightness.

    Returns:
      [n, C, H, W] float32, in [0, 1] before the intensity; channels last in memory.
    """
    device = images.device
    offset = torch.from_numpy(shift).to(device)
    height, width = images.shape[2:]
    down = torch.arange(height, device=device) + offset[:, :1]
    right = torch.arange(width, device=device) + offset[:, 1:]
    image = torch.arange(len(images), device=device)[:, None, None]
    moved = images.permute(0, 2, 3, 1)[
        image, down.clamp(0, height - 1)[:, :, None], right.clamp(0, width - 1)[:, None, :]
    ]
    factor = torch.from_numpy(intensity).to(device).view(-1, 1, 1, 1) / 255
    return (moved.float() * factor).permute(0, 3, 1, 2)


def augmentation_noise(
    rng: np.random.Generator, images: int, shift_pixels: int, intensity_scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draws `shift` [n, 2] and `intensity` [n] for `augment`."""
    shift = rng.integers(-shift_pixels, shift_pixels, size=(images, 2), endpoint=True)
    noise = rng.standard_normal(images, dtype=np.float32).clip(-2, 2)
    return shift, (1 + intensity_scale * noise).astype(np.float32)
