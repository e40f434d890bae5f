"""Searches with a frozen network: with trees on the CPU, or entirely on the GPU."""

import threading
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ezcli.efficientzero.folded import fold
from ezcli.efficientzero.inference import (
    RootNoise,
    SearchResult,
    evaluate_states,
    latents_of,
    search_states,
    search_tree,
)
from ezcli.efficientzero.lookahead import Lookahead, look_ahead
from ezcli.efficientzero.network import Network
from ezcli.efficientzero.search import Evaluation
from ezcli.efficientzero.simulation import Simulate
from ezcli.efficientzero.traced import traced
from ezcli.efficientzero.tree import Constants, Tree
from ezcli.errors import NotFinite

if TYPE_CHECKING:
    from ezcli.efficientzero.device_search import DeviceSearch

SMALLEST = 4  # largest number of roots on the GPU


class Searcher:
    """Searches and evaluates states with a copy of a network.

    It runs searches. What they are used for is decided by the planner.

    Args:
      network: copied, and folded.
      precision: `float32` or `bfloat16`, precision of the folded weights.
      where: device of the trees: `cpu`, or `cuda` together with the network.
    """

    def __init__(self, network: Network, precision: str, where: str) -> None:
        self.network = fold(network, precision)
        self.precision, self.where = precision, where
        self.on_device: dict[tuple[Constants, int], DeviceSearch] = {}  # by size too
        self.lock = threading.Lock()  # searches on the GPU share memory
        self.simulations: dict[int, Simulate] = {}  # by prefix horizon

    def take(self, network: Network) -> None:
        """Replaces the weights used by searches."""
        self.network.load_state_dict(fold(network, self.precision).state_dict())

    def search(
        self,
        constants: Constants,
        observations: Tensor,
        noise: RootNoise | None,
        tie_seed: np.ndarray,
    ) -> SearchResult:
        """Like `search_states`.

        Raises:
          NotFinite: a value is not finite.
        """
        if self.where == "cuda":
            with self.lock:
                fitting = self._device_search(constants, len(observations))
                found = fitting.search(observations, noise, tie_seed)
        else:
            simulate = self._simulation(constants, observations)
            found = search_states(
                self.network, observations, constants, noise, tie_seed, "float32", simulate
            )
        require_finite(found.network_value, found.value)
        return found

    def tree(
        self,
        constants: Constants,
        observations: Tensor,
        noise: RootNoise | None,
        tie_seed: np.ndarray,
    ) -> tuple[Tree, Evaluation]:
        """Like `search_tree`, always on the CPU."""
        return search_tree(self.network, observations, constants, noise, tie_seed, "float32")

    def look_ahead(self, observations: Tensor) -> Lookahead:
        """Like `lookahead.look_ahead`, on the network's device.

        Raises:
          NotFinite: a value or a reward is not finite.
        """
        found = look_ahead(self.network, observations, "float32")
        require_finite(found.network_value, (found.reward + found.value).sum(1))
        return found

    def evaluate(self, observations: Tensor) -> np.ndarray:
        """Like `evaluate_states`.

        Raises:
          NotFinite: a value is not finite.
        """
        values = evaluate_states(self.network, observations, "float32")
        require_finite(values)
        return values

    def latents(self, observations: Tensor) -> np.ndarray:
        """Like `latents_of`."""
        return latents_of(self.network, observations, "float32")

    def _simulation(self, constants: Constants, observations: Tensor) -> Simulate | None:
        """The traced simulation of this network on a CPU; None on other devices."""
        if observations.device.type != "cpu":
            return None
        with self.lock:
            horizon = constants.prefix_horizon
            if horizon not in self.simulations:
                self.simulations[horizon] = traced(self.network, observations, constants)
            return self.simulations[horizon]

    def _device_search(self, constants: Constants, roots: int) -> "DeviceSearch":
        """The device search of this kind for `roots` roots. Sizes are powers of two."""
        from ezcli.efficientzero.device_search import DeviceSearch  # lazy: loads Numba's CUDA

        size = max(SMALLEST, 1 << (roots - 1).bit_length())
        key = constants, size
        if key not in self.on_device:
            self.on_device[key] = DeviceSearch(self.network, constants, size)
        return self.on_device[key]


def require_finite(*values: np.ndarray) -> None:
    """Refuses values that are not finite, which a search would not notice."""
    for array in values:
        if not np.isfinite(array).all():
            wrong = np.count_nonzero(~np.isfinite(array))
            raise NotFinite(
                "EZ-RUN-NOT-FINITE",
                f"The network's values of {wrong} of {len(array)} states are not finite.",
            )
