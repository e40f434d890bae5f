"""Settings -> environment. Emulators and users' files are loaded only when they are asked for."""

from ezcli.envs.checked import Checked
from ezcli.envs.settings import EnvSettings
from ezcli.envs.suites import suite_of


def make_env(settings: EnvSettings, evaluation: bool) -> Checked:
    """Builds one environment, under the rules of training or those of evaluation.

    Raises:
      EzError: there is none, or it breaks its contract.
    """
    build = suite_of(settings).builder(settings)
    return Checked(lambda: build(settings, evaluation), build.__name__, settings.cap(evaluation))
