"""Makes environments from settings. Emulators and users' files are loaded only when needed."""

from ezcli.envs.checked import Checked
from ezcli.envs.settings import EnvSettings
from ezcli.envs.suites import suite_of


def make_env(settings: EnvSettings, evaluation: bool) -> Checked:
    """Builds one environment for training or evaluation.

    Raises:
      EzError: it does not exist, or breaks its contract.
    """
    build = suite_of(settings).builder(settings)
    return Checked(lambda: build(settings, evaluation), build.__name__, settings.cap(evaluation))
