"""What a checkpoint may hold: its checksums prove that it is whole, not who wrote it.

Everything is checked against a freshly built trainer before any of it is used: the names, types and
shapes of the arrays before they are read, then their ranges, then the numbers in JSON.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file as load_tensors
from torch import Tensor

from ezcli.efficientzero.batch import Targets, Window
from ezcli.efficientzero.learner import STEP_METRICS
from ezcli.efficientzero.replay import Replay
from ezcli.errors import CheckpointError
from ezcli.runs.frame_log import Segment
from ezcli.runs.seeding import STREAMS
from ezcli.runs.trainer import Trainer
from ezcli.settings import LARGEST

DTYPES = {  # of safetensors, by the name that NumPy and PyTorch have for them
    "bool": "BOOL",
    "int64": "I64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
}
LARGEST_FLOAT = float(np.finfo(np.float32).max)
LONGEST_PLACE = 80  # characters of the name of a wrong entry

Count = Annotated[int, Field(ge=0, lt=LARGEST)]
Number = Annotated[float, Field(ge=-LARGEST_FLOAT, le=LARGEST_FLOAT)]


Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def odd(value: int) -> int:
    """Refuses the even increments, which PCG64 does not have."""
    if value % 2 == 0:
        raise ValueError("it is even")
    return value


def rows_of(width: int, may_be_nan: int = 0) -> Any:
    """The type of a list of rows of so many numbers; only the last `may_be_nan` may be NaN."""

    def check(row: list[float]) -> list[float]:
        if len(row) != width:
            raise ValueError(f"it has {len(row)} numbers, not {width}")
        for place, number in enumerate(row):
            may_be = math.isnan(number) and place >= width - may_be_nan
            if not (may_be or abs(number) <= LARGEST_FLOAT):
                raise ValueError(f"the number {number} is out of range")
        return row

    return Annotated[list[Annotated[list[float], AfterValidator(check)]], FailFast()]


class Table(BaseModel):
    """A table of JSON: strict, and closed to unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid")


AnyTable = TypeVar("AnyTable", bound=Table)


class SealEntry(Table):
    """How much of a file of JSON lines there was."""

    bytes: int = Field(ge=0, lt=2**63)
    sha256: Digest


class SegmentEntry(Table):
    """A file of frames; see `frame_log.Segment`."""

    file: str
    sha256: Digest
    pieces: Annotated[
        list[Annotated[list[Count], Field(min_length=3, max_length=3)]], Field(min_length=1)
    ]


class Manifest(Table):
    """A manifest of either format, without what tells them apart."""

    format: int
    identity: str
    env_steps: Count
    train_steps: Count
    files: dict[str, Digest]
    segments: Annotated[list[SegmentEntry], FailFast()]
    records: dict[str, SealEntry] = {}
    sha256: str = ""


class Pcg64(Table):
    """The two numbers of NumPy's PCG64."""

    state: int = Field(ge=0, lt=2**128)
    inc: Annotated[int, Field(ge=0, lt=2**128), AfterValidator(odd)]


class Stream(Table):
    """The state of a random stream."""

    bit_generator: Literal["PCG64"]
    state: Pcg64
    has_uint32: int = Field(ge=0, le=1)
    uinteger: int = Field(ge=0, lt=2**32)


class MetricsSums(Table):
    """What `MetricsWindow` holds."""

    games: rows_of(2)  # type: ignore[valid-type]
    training: rows_of(len(STEP_METRICS))  # type: ignore[valid-type]
    td_steps: Annotated[list[Number], FailFast()]
    acting: rows_of(3)  # type: ignore[valid-type]
    work: rows_of(5, may_be_nan=2)  # type: ignore[valid-type]


class State(Table):
    """What `state.json` holds."""

    drawn_steps: Count
    metrics: MetricsSums
    games: list[Annotated[list[Any], Field(min_length=2, max_length=2)]]
    streams: dict[str, Stream]


class Game(Table):
    """The log of a running game."""

    seed: Count
    actions: Annotated[list[int], FailFast()]


class Layout(NamedTuple):
    """Type and shape of an array in a file of safetensors."""

    dtype: str
    shape: tuple[int, ...]


def wrong(file: Path, why: str) -> CheckpointError:
    """The error about a file of a checkpoint that cannot be used."""
    return CheckpointError("EZ-CHECKPOINT-CONTENT", f"{str(file)!r} cannot be used: {why}.")


def require(condition: object, file: Path, why: str) -> None:
    """Refuses a file unless a condition holds.

    Raises:
      CheckpointError: with the reason.
    """
    if not condition:
        raise wrong(file, why)


def parse(schema: type[AnyTable], content: object, file: Path) -> AnyTable:
    """Content of JSON as a schema has it.

    Raises:
      CheckpointError: naming the first wrong entry.
    """
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:LONGEST_PLACE] or "all of it"
        raise wrong(file, f"{place}: {first['msg'][:1].lower()}{first['msg'][1:]}") from error


def layout(array: np.ndarray | Tensor) -> Layout:
    """Type and shape of an array or tensor."""
    return Layout(DTYPES[str(array.dtype).removeprefix("torch.")], tuple(array.shape))


def layouts(arrays: Mapping[str, np.ndarray] | Mapping[str, Tensor]) -> dict[str, Layout]:
    """Type and shape of each of them."""
    return {name: layout(array) for name, array in arrays.items()}


def require_layout(file: Path, expected: Mapping[str, Layout], optional: Iterable[str]) -> None:
    """Refuses a file of safetensors with other arrays than expected; reads only its header.

    Args:
      file: of safetensors.
      expected: every array that may be there.
      optional: names of those that need not be.

    Raises:
      CheckpointError: naming the first wrong one.
    """
    try:
        with safe_open(file, "np") as arrays:
            parts = {name: arrays.get_slice(name) for name in arrays.keys()}  # noqa: SIM118
            found = {
                name: Layout(part.get_dtype(), tuple(part.get_shape()))
                for name, part in parts.items()
            }
    except SafetensorError as error:
        raise wrong(file, f"it is not in the format safetensors ({error})") from error
    for name in sorted(found.keys() - expected.keys()):
        raise wrong(file, f"{name[:LONGEST_PLACE]!r} does not belong in it")
    for name in sorted(expected.keys() - found.keys() - set(optional)):
        raise wrong(file, f"{name!r} is missing")
    for name in sorted(found):
        has, needs = found[name], expected[name]
        why = f"{name!r} is {has.dtype} {list(has.shape)}, not {needs.dtype} {list(needs.shape)}"
        require(has == needs, file, why)


def read_network(file: Path, network: torch.nn.Module) -> dict[str, Tensor]:
    """The weights in a file, if they fit a network.

    Raises:
      CheckpointError: they do not, or are not finite.
    """
    require_layout(file, layouts(network.state_dict()), ())
    return read_tensors(file)


def read_networks(
    file: Path, copies: Mapping[str, Tensor], trainer: Trainer, train_steps: int
) -> dict[str, Tensor]:
    """The copies of the network and the optimiser's state.

    Args:
      file: that holds them.
      copies: of the fresh trainer, under the same names.
      trainer: a fresh one.
      train_steps: that have been made.

    Raises:
      CheckpointError: they do not fit the trainer, or are not finite.
    """
    sgd = isinstance(trainer.learner.optimiser, torch.optim.SGD)
    names = ("momentum_buffer",) if sgd else ("step", "exp_avg", "exp_avg_sq")
    expected, optional = layouts(copies), set()
    for index, weight in enumerate(trainer.learner.network.parameters()):
        for name in names:
            key = f"optimiser.{index}.{name}"
            expected[key] = Layout("F32", () if name == "step" else tuple(weight.shape))
            optional.add(key)
    require_layout(file, expected, optional)
    tensors = read_tensors(file)
    for key, tensor in tensors.items():
        owner, _, name = key.rpartition(".")
        if key not in optional:
            continue
        for other in names:
            require(f"{owner}.{other}" in tensors, file, f"'{owner}.{other}' is missing")
        if name == "step":
            require(1 <= float(tensor) <= train_steps, file, f"{key!r} is {float(tensor)}")
        if name == "exp_avg_sq":
            require(bool((tensor >= 0).all()), file, f"{key!r} has negative entries")
    return tensors


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file whose layout was checked.

    Raises:
      CheckpointError: one is not finite.
    """
    tensors: dict[str, Tensor] = load_tensors(file)
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            require(bool(torch.isfinite(tensor).all()), file, f"{name!r} is not finite")
        if name.endswith("running_var"):
            require(bool((tensor >= 0).all()), file, f"{name!r} has negative entries")
    return tensors


def drawn_layouts(trainer: Trainer) -> dict[str, Layout]:
    """Type and shape of the window and the targets of a draw; see `Window` and `Targets`."""
    config, replay = trainer.config, trainer.replay
    drawn = config.loss.batch_size * config.schedule.sample_ahead
    unroll, ahead, actions = replay.unroll_steps, replay.lookahead, trainer.num_actions
    window = {
        "rows": Layout("I64", (drawn, ahead + 1)),
        "is_state": Layout("BOOL", (drawn, ahead + 1)),
        "is_terminal": Layout("BOOL", (drawn, ahead + 1)),
        "actions": Layout("I64", (drawn, unroll)),
        "rewards": Layout("F32", (drawn, ahead)),
        "age": Layout("I64", (drawn,)),
        "weights": Layout("F32", (drawn,)),
    }
    targets = {
        "value_prefix": Layout("F32", (drawn, unroll)),
        "value": Layout("F32", (drawn, unroll + 1)),
        "policy": Layout("F32", (drawn, unroll + 1, actions)),
        "has_policy": Layout("BOOL", (drawn, unroll + 1)),
    }
    assert set(window) == set(Window._fields)
    assert set(targets) == set(Targets._fields)
    return {f"window.{name}": one for name, one in window.items()} | {
        f"targets.{name}": one for name, one in targets.items()
    }


def read_arrays(
    file: Path, arrays: Mapping[str, np.ndarray], trainer: Trainer, env_steps: int
) -> dict[str, np.ndarray]:
    """The replay, the memo and, where there is one, the draw.

    Args:
      file: that holds them.
      arrays: of the fresh trainer, under the same names.
      trainer: a fresh one.
      env_steps: that the run has made.

    Raises:
      CheckpointError: they do not fit the trainer, or a number is out of its range.
    """
    drawn = drawn_layouts(trainer)
    require_layout(file, layouts(arrays) | drawn, drawn)
    found: dict[str, np.ndarray] = load_arrays(file)
    missing = sorted(drawn.keys() - found.keys())
    require(len(missing) in (0, len(drawn)), file, f"{missing[:1]} are missing")
    states = total(found["length"])
    most = {
        "replay.action": trainer.num_actions - 1,
        "replay.age_in_episode": env_steps,
        "replay.collected_at": env_steps,
        "replay.state_id": states,
        "replay.policy": 1.001,  # rounded
        "memo.policy": 1.001,
        "targets.policy": 1.001,
        "window.rows": trainer.replay.rows - 1,
        "window.actions": trainer.num_actions - 1,
        "window.age": env_steps,
    }
    signed = {"replay.reward", "memo.search_value", "memo.network_value", "window.rewards"}
    signed |= {"targets.value_prefix", "targets.value"}
    unset = {"replay.state_id", "memo.searched", "memo.evaluated"}  # -1 where there is nothing
    for name, array in found.items():
        if array.dtype == np.bool_:
            require((array.view(np.uint8) <= 1).all(), file, f"{name!r} is not of bits")
            continue
        require(np.isfinite(array).all(), file, f"{name!r} is not finite")
        low = -math.inf if name in signed else -1 if name in unset else 0
        high = most.get(name, LARGEST_FLOAT if array.dtype.kind == "f" else math.inf)
        in_range = (array >= low).all() and (array <= high).all()
        require(in_range, file, f"{name!r} is not between {low} and {high}")
    envs = trainer.config.acting.num_envs
    fits = (found["length"] >= 1).all() and env_steps + envs <= states <= 2 * env_steps + envs
    require(fits, file, f"'length' does not fit {env_steps} env_steps")
    can_be_drawn = found["replay.weight"] > 0
    has_state = found["replay.state_id"] > 0
    require(has_state[can_be_drawn].all(), file, "'replay.weight' names states that are not there")
    return found


def total(lengths: np.ndarray) -> int:
    """Sum of integers that may be beyond what an array can add up."""
    return sum(lengths.tolist())


def require_state(
    table: object, file: Path, trainer: Trainer, manifest: Mapping[str, Any], has_draw: bool
) -> None:
    """Refuses numbers in `state.json` that `checkpoint.state` does not make.

    Args:
      table: its content.
      file: it.
      trainer: a fresh one.
      manifest: of the checkpoint.
      has_draw: whether the checkpoint holds batches that were drawn ahead.

    Raises:
      CheckpointError: an entry is wrong, or does not fit the trainer.
    """
    found = parse(State, table, file)
    schedule, envs = trainer.config.schedule, trainer.config.acting.num_envs
    env_steps, train_steps = manifest["env_steps"], manifest["train_steps"]
    within = env_steps <= schedule.env_steps and train_steps <= schedule.train_steps
    require(within, file.with_name("manifest.json"), "its steps are more than the run has")
    ahead = schedule.sample_ahead if has_draw else 0
    fits = found.drawn_steps == train_steps + ahead <= schedule.train_steps
    require(fits, file, f"drawn_steps is {found.drawn_steps} at train_step {train_steps}")
    require(found.streams.keys() == set(STREAMS), file, "it has other random streams than a run")
    require(len(found.games) == envs, file, f"it has {len(found.games)} games, not {envs}")
    for number, (seed, actions) in enumerate(found.games):
        game = parse(Game, {"seed": seed, "actions": actions}, file)
        known = all(0 <= action < trainer.num_actions for action in game.actions)
        require(known, file, f"games.{number} has an action that the game does not know")
        # After a lost life an action leads on that is no env_step.
        short = len(game.actions) <= 2 * env_steps
        require(short, file, f"games.{number} has more actions than the run has made")


def require_pieces(file: Path, segments: list[Segment], replay: Replay) -> None:
    """Refuses segments that do not hold each frame of the replay once.

    Args:
      file: the manifest.
      segments: oldest first.
      replay: with the lengths of the checkpoint.

    Raises:
      CheckpointError: naming the first segment that does not fit.
    """
    oldest = np.maximum(replay.length - replay.stream_rows, 0).tolist()
    length, done = replay.length.tolist(), [0] * len(replay.length)
    for segment in segments:
        for env, start, count in segment.pieces:
            fits = (
                env < len(length)
                and 1 <= count <= replay.stream_rows
                and done[env] <= start <= max(done[env], oldest[env])
                and start + count <= length[env]
            )
            why = f"the frames that it says are in {segment.file!r} do not fit the replay"
            require(fits, file, why)
            done[env] = start + count
    require(done == length, file, "it names no segment for the newest frames")
