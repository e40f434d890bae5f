"""TensorBoard: event files in the run, for `tensorboard --logdir runs`."""

from collections.abc import Mapping

from ezcli.config.run import RunConfig
from ezcli.config.text import to_toml
from ezcli.runs.folder import RunFolder
from ezcli.runs.trackers.protocol import Tracking


class TensorBoard:
    """An event file for each session, with the train_step as the x-axis."""

    title, package, install = "TensorBoard", "tensorboard", "ezcli[tensorboard]"

    def __init__(self, tracking: Tracking, folder: RunFolder, config: RunConfig) -> None:
        """Opens an event file, with the config as a text."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder.path / "tensorboard"))
        code = "".join(f"    {line}\n" for line in to_toml(config).splitlines())  # as Markdown
        self.writer.add_text("config", code)

    def log(self, numbers: Mapping[str, float], train_steps: int) -> None:
        """Adds a point to each curve."""
        for name, number in numbers.items():
            self.writer.add_scalar(name, number, train_steps)

    def close(self) -> None:
        """Flushes all data."""
        self.writer.close()
