"""EfficientZero on Atari 100k: training, ablations and human-normalised scores from one command.

`ezcli.configure`, `train`, `load` and `report` are its Python interface (`ezcli.api`). It is
imported on first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ezcli.api import Agent, EzError, Run, configure, load, report, train

__version__ = "0.1.0"
__all__ = ["Agent", "EzError", "Run", "__version__", "configure", "load", "report", "train"]


def __getattr__(name: str) -> Any:
    """Imports the Python interface on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ezcli import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return __all__
