"""A frozen network that searches run on: with trees on the CPU, or wholly on the GPU."""

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

SMALLEST = 4  # roots that there is room for on the GPU


class Searcher:
    """Searches and evaluates states with a network as it was when it was last taken.

    It knows how to run a search, not what the search is for: that is a planner's part.

    Args:
      network: copied, and folded.
      precision: `float32` or `bfloat16`, of the folded weights: nothing is cast on the way.
      where: the trees lie: `cpu`, or `cuda` together with the network.
    """

    def __init__(self, network: Network, precision: str, where: str) -> None:
        self.network = fold(network, precision)
        self.precision, self.where = precision, where
        self.on_device: dict[tuple[Constants, int], DeviceSearch] = {}  # by size too
        self.lock = threading.Lock()  # a search on the GPU uses the same memory each time
        self.simulations: dict[int, Simulate] = {}  # by prefix horizon

    def take(self, network: Network) -> None:
        """Searches with these weights from now on."""
        self.network.load_state_dict(fold(network, self.precision).state_dict())

    def search(
        self,
        constants: Constants,
        observations: Tensor,
        noise: RootNoise | None,
        tie_seed: np.ndarray,
    ) -> SearchResult:
        """As `search_states`.

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
        """As `search_tree`: on the CPU, wherever searches run."""
        return search_tree(self.network, observations, constants, noise, tie_seed, "float32")

    def look_ahead(self, observations: Tensor) -> Lookahead:
        """As in `lookahead`, on the network's device.

        Raises:
          NotFinite: a value or a reward is not finite.
        """
        found = look_ahead(self.network, observations, "float32")
        require_finite(found.network_value, (found.reward + found.value).sum(1))
        return found

    def evaluate(self, observations: Tensor) -> np.ndarray:
        """As `evaluate_states`.

        Raises:
          NotFinite: a value is not finite.
        """
        values = evaluate_states(self.network, observations, "float32")
        require_finite(values)
        return values

    def latents(self, observations: Tensor) -> np.ndarray:
        """As `latents_of`."""
        return latents_of(self.network, observations, "float32")

    def _simulation(self, constants: Constants, observations: Tensor) -> Simulate | None:
        """What simulates on a CPU with this network; None elsewhere, for the plain way."""
        if observations.device.type != "cpu":
            return None
        with self.lock:
            horizon = constants.prefix_horizon
            if horizon not in self.simulations:
                self.simulations[horizon] = traced(self.network, observations, constants)
            return self.simulations[horizon]

    def _device_search(self, constants: Constants, roots: int) -> "DeviceSearch":
        """The search of that kind with room for so many roots: sizes are powers of two."""
        from ezcli.efficientzero.device_search import DeviceSearch  # lazy: loads Numba's CUDA

        size = max(SMALLEST, 1 << (roots - 1).bit_length())
        key = constants, size
        if key not in self.on_device:
            self.on_device[key] = DeviceSearch(self.network, constants, size)
        return self.on_device[key]


def require_finite(*values: np.ndarray) -> None:
    """Refuses values that are not finite: a search would continue with them silently."""
    for array in values:
        if not np.isfinite(array).all():
            wrong = np.count_nonzero(~np.isfinite(array))
            raise NotFinite(
                "EZ-RUN-NOT-FINITE",
                f"The network gave {wrong} of {len(array)} states no finite value.",
            )
