"""Records of a value that is not finite: the data that led to it, in the run's folder.

    runs/<name>/failure/
    ├── failure.json           train_step, losses, and other values that were not finite
    ├── batch.safetensors      the batch, as input of the network
    └── weights.safetensors    the network with its weights before that train_step (statistics of
                               batch-norms are later ones)

`ez doctor RUN` describes it.
"""

import copy
import json
from collections.abc import Callable
from typing import Any

from safetensors.numpy import save as arrays_to_bytes
from torch import Tensor, nn

from ezcli.efficientzero.batch import Batch
from ezcli.efficientzero.learner import Learner, learning_rate
from ezcli.efficientzero.network import array_of
from ezcli.errors import RunError
from ezcli.files import create, draft_folder_of, remove
from ezcli.runs.folder import RunFolder
from ezcli.runs.json_files import is_there, read_table
from ezcli.runs.seals import checksum
from ezcli.runs.trainer import Trainer
from ezcli.words import ez_command

FAILURE = "failure"
LARGE = 1e6  # size of value targets above which rewards are the likely cause
NAMED = 5  # most parameters listed; others are counted


def write(folder: RunFolder, message: str, trainer: Trainer) -> None:
    """Saves the data that explain the error `message`."""
    learner, evidence = trainer.learner, trainer.evidence
    record: dict[str, Any] = {"message": message, "env_steps": trainer.replay.env_steps}
    record |= {"train_step": learner.train_steps, "batch": None, "first_layer": None}
    with draft_folder_of(folder.path / FAILURE) as draft:
        if evidence is not None:
            tensors = evidence.batch._asdict()
            arrays = {name: array_of(tensor) for name, tensor in tensors.items()}
            create(draft / "batch.safetensors", arrays_to_bytes(arrays))
            first_layer, gradients = trace(learner, evidence.batch)
            record |= {
                "train_step": evidence.train_step,
                "learning_rate": learning_rate(evidence.train_step, learner.settings),
                "metrics": {name: str(value) for name, value in evidence.metrics.items()},
                "batch": {name: extent(tensor) for name, tensor in tensors.items()},
                "first_layer": first_layer,
                "gradients": gradients,
            }
        record["weights"] = {
            name: extent(weight.detach()) for name, weight in learner.network.named_parameters()
        }
        create(draft / "weights.safetensors", arrays_to_bytes(learner.network.state()))
        record["sha256"] = checksum(record)
        create(draft / "failure.json", json.dumps(record, indent=1).encode())


def trace(learner: Learner, batch: Batch) -> tuple[str | None, list[str]]:
    """Repeats the train_step on a copy, and checks every layer.

    Returns the first layer whose output is not finite, and the parameters whose gradient is not.
    """
    network = copy.deepcopy(learner.network).train()
    seen: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(_module: nn.Module, _inputs: Any, output: Any) -> None:
            outputs = output if isinstance(output, tuple) else (output,)
            if not all(is_finite(x) for x in outputs if isinstance(x, Tensor)):
                seen.append(name)

        return look

    for name, module in network.named_modules():
        if not list(module.children()):
            module.register_forward_hook(watch(name))
    learner.objective(network, batch).total.backward()
    gradients = [
        name
        for name, weight in network.named_parameters()
        if weight.grad is not None and not is_finite(weight.grad)
    ]
    return (seen[0] if seen else None), gradients


def extent(tensor: Tensor) -> dict[str, Any]:
    """Range of the values of a tensor, and the number of values that are not finite."""
    finite = tensor[tensor.isfinite()].double()
    return {
        "not_finite": tensor.numel() - finite.numel(),
        "min": float(finite.min()) if finite.numel() else None,
        "max": float(finite.max()) if finite.numel() else None,
    }


def is_finite(tensor: Tensor) -> bool:
    """Whether all values of a tensor are finite."""
    return bool(tensor.isfinite().all())


def clear(folder: RunFolder) -> None:
    """Removes the record of an earlier failure."""
    remove(folder.path / FAILURE)


def read(folder: RunFolder) -> dict[str, Any] | None:
    """Reads `failure.json`, if it exists.

    Raises:
      RunError: it is damaged.
    """
    path = folder.path / FAILURE / "failure.json"
    if not is_there(path):
        return None
    record = read_table(path)
    if record.pop("sha256", None) != checksum(record):
        raise RunError(
            "EZ-RUN-DAMAGED",
            f"{str(path)!r} is damaged: its checksum differs.",
            "Delete its folder.",
        )
    return record


def explain(record: dict[str, Any]) -> list[str]:
    """Sentences that explain a run's `error` further."""
    rate = record.get("learning_rate")
    lines = [
        f"At train_step {record['train_step']:,}, env_step {record['env_steps']:,}"
        + ("." if rate is None else f", with learning rate {rate:g}.")
    ]
    lines.append(describe_weights(record["weights"]))
    for name, reach in (record["batch"] or {}).items():
        if reach["not_finite"]:
            lines.append(f"{reach['not_finite']} values of the batch's {name} are not finite.")
    if record["first_layer"]:
        lines.append(f"The first layer whose output is not finite: {record['first_layer']}.")
    elif record.get("gradients"):
        wrong = some(record["gradients"])
        lines.append(f"The outputs of all layers are finite, but these gradients are not: {wrong}.")
    targets = (record["batch"] or {}).get("value", {})
    if targets.get("min") is not None:
        lines.append(f"Value targets range from {targets['min']:g} to {targets['max']:g}.")
    return lines


def describe_weights(weights: dict[str, dict[str, Any]]) -> str:
    """Describes wrong weights, or else the largest weight."""
    wrong = [name for name, reach in weights.items() if reach["not_finite"]]
    if wrong:
        return f"Weights that were not finite before that: {some(wrong)}."
    sizes = {name: max(abs(reach["min"]), abs(reach["max"])) for name, reach in weights.items()}
    largest = max(sizes, key=sizes.__getitem__)
    return f"The largest weight before that: {sizes[largest]:g}, in {largest}."


def remedy(record: dict[str, Any], folder: RunFolder) -> str:
    """The remedy."""
    again = f"`{ez_command('resume', folder.path)}` would reproduce it exactly."
    targets = (record["batch"] or {}).get("value", {})
    if max(abs(targets.get("min") or 0), abs(targets.get("max") or 0)) > LARGE:
        return f"{again} Rewards are very large: train on their sign, --set env.clip_rewards=true."
    return f"{again} Train a new run with a lower optimiser.learning_rate."


def some(names: list[str]) -> str:
    """The first names, and the number of others."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
