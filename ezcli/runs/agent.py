"""The agent of a run: its network with the weights of the newest intact checkpoint."""

from collections.abc import Callable
from typing import NamedTuple

from ezcli.config.run import RunConfig
from ezcli.efficientzero.network import Network
from ezcli.envs.make import make_env
from ezcli.envs.protocol import EnvSpec
from ezcli.runs import checkpoint
from ezcli.runs.compute import Compute, resolve_compute, warm_up_search
from ezcli.runs.device_check import checked
from ezcli.runs.folder import RunFolder
from ezcli.runs.trainer import make_network


class Agent(NamedTuple):
    """A trained network with everything needed to play."""

    network: Network  # in evaluation mode, on the device
    compute: Compute
    spec: EnvSpec  # of the environment in evaluation
    env_steps: int  # number of train_steps of the checkpoint
    train_steps: int


def load_agent(folder: RunFolder, config: RunConfig, say: Callable[[str], None] = print) -> Agent:
    """Loads the newest agent of a run, on the config's device.

    Args:
      folder: of the run.
      config: config of the run; its device may differ.
      say: receives messages about damaged checkpoints and unusable caches.

    Raises:
      EzError: there is no intact checkpoint, or the device or the game is not available.
    """
    compute = resolve_compute(config.compute)
    found, complaints = checkpoint.newest(folder, to_train=False)
    if found is None:
        raise checkpoint.no_checkpoint(folder)
    for complaint in complaints:
        say(f"{complaint} Using the weights of the checkpoint before.")
    spec = make_env(config.env, evaluation=True).spec
    network = make_network(config, spec.frame_shape, len(spec.action_names))
    checkpoint.restore_part("weights", network, found, folder)
    network.to(compute.device).eval()
    said = warm_up_search()
    compute, _, failures = checked(compute, config)
    for sentence in (*said, *failures):
        say(sentence)
    return Agent(network, compute, spec, found.manifest["env_steps"], found.manifest["train_steps"])
