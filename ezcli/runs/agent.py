"""The agent of a run: its network with the weights of the newest whole checkpoint."""

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
    """A trained network and all that is needed to play with it."""

    network: Network  # in evaluation mode, on the device
    compute: Compute
    spec: EnvSpec  # of the game under the rules of evaluation
    env_steps: int  # of the checkpoint
    train_steps: int


def load_agent(folder: RunFolder, config: RunConfig, say: Callable[[str], None] = print) -> Agent:
    """The agent as it is now, on the config's device.

    Args:
      folder: of the run.
      config: of the run; the device may be another one.
      say: told about checkpoints that are damaged, and a cache that cannot be used.

    Raises:
      EzError: there is no whole checkpoint, or the device or the game is not there.
    """
    compute = resolve_compute(config.compute)
    found, complaints = checkpoint.newest(folder, to_train=False)
    if found is None:
        raise checkpoint.no_checkpoint(folder)
    for complaint in complaints:
        say(f"{complaint} Taking the weights of the checkpoint before.")
    spec = make_env(config.env, evaluation=True).spec
    network = make_network(config, spec.frame_shape, len(spec.action_names))
    checkpoint.restore_part("weights", network, found, folder)
    network.to(compute.device).eval()
    said = warm_up_search()
    compute, _, failures = checked(compute, config)
    for sentence in (*said, *failures):
        say(sentence)
    return Agent(network, compute, spec, found.manifest["env_steps"], found.manifest["train_steps"])
