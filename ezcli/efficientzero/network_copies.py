"""Delayed copies of the learner's network."""

import copy
from collections.abc import Callable

from ezcli.efficientzero.hyperparameters import Hyperparameters
from ezcli.efficientzero.learner import Learner
from ezcli.efficientzero.network import Network
from ezcli.efficientzero.searcher import Searcher
from ezcli.state import State, joined, parted, restore_parts, states_of


class NetworkCopies:
    """Frozen copies of the learner's network: for acting, for targets, and for the next targets.

    Every `target_update_interval` train_steps a copy is taken, which makes targets one period
    later. So a target network is one to two periods old. The acting copy is used at once.

    Args:
      network: the learner's.
      settings: of the run.
      make_searcher: makes a searcher from a network.
    """

    def __init__(
        self,
        network: Network,
        settings: Hyperparameters,
        make_searcher: Callable[[Network], Searcher],
    ) -> None:
        self.schedule = settings.schedule
        self.networks = {name: frozen(network) for name in ("acting", "target", "upcoming")}
        self.acting, self.target = make_searcher(network), make_searcher(network)

    def state(self) -> State:
        """The weights of each copy."""
        return joined(states_of(self.networks))

    def restore(self, state: State) -> None:
        """Raises CheckpointError: tensors of other networks, or not finite."""
        restore_parts(self.networks, parted(state, self.networks))
        self.acting.take(self.networks["acting"])
        self.target.take(self.networks["target"])

    def target_version(self, train_step: int) -> int:
        """The number of the target network for `train_step`, counted from 0."""
        return train_step // self.schedule.target_update_interval

    def before_targets(self, train_step: int) -> None:
        """Must be called before targets are made for batches that begin with `train_step`."""
        if train_step % self.schedule.target_update_interval == 0:
            self.networks["target"].load_state_dict(self.networks["upcoming"].state_dict())
            self.target.take(self.networks["target"])

    def are_due(self, train_steps: int) -> bool:
        """Whether a copy is taken after `train_steps`."""
        intervals = (self.schedule.acting_update_interval, self.schedule.target_update_interval)
        return any(train_steps % interval == 0 for interval in intervals)

    def after_learning(self, learner: Learner) -> None:
        """Must be called when the learner has finished a group of batches."""
        if learner.train_steps % self.schedule.acting_update_interval == 0:
            self.networks["acting"].load_state_dict(learner.network.state_dict())
            self.acting.take(self.networks["acting"])
        if learner.train_steps % self.schedule.target_update_interval == 0:
            self.networks["upcoming"].load_state_dict(learner.network.state_dict())


def frozen(network: Network) -> Network:
    """A copy in evaluation mode without gradients."""
    return copy.deepcopy(network).eval().requires_grad_(False)
