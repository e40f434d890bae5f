"""Provenance of results: versions, device, code, environment contract."""

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from ezcli import __version__
from ezcli.config.run import RunConfig
from ezcli.envs.code import code_of, locate
from ezcli.envs.suites import own_code
from ezcli.runs.compute import Compute
from ezcli.runs.folder import RunFolder

# Environment variables that select instructions, kernels or precision of libraries. No other
# variable is recorded, because it may be secret.
VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "DNNL_CPU_ISA_HINTS",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_DEBUG_CPU_TYPE",
    "MKL_ENABLE_INSTRUCTIONS",
    "NPY_DISABLE_CPU_FEATURES",
    "NPY_ENABLE_CPU_FEATURES",
    "NUMBA_CPU_FEATURES",
    "NUMBA_CPU_NAME",
    "NUMBA_DISABLE_JIT",
    "NUMBA_OPT",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_CPU_ISA_HINTS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
LONGEST = 100  # characters recorded of a variable
GIT_SECONDS = 20  # time limit of git
PACKAGES = ("torch", "numba", "numpy", "ale-py", "pydantic")


def provenance(compute: Compute) -> dict[str, Any]:
    """Entries for `run.json`, without host names and other environment variables than VARIABLES."""
    return {
        "ezcli": __version__,
        "git": git_state(Path(__file__).parent),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in PACKAGES},
        "device": str(compute.device),
        "device_name": device_name(compute.device),
        "precision": compute.precision,
        "threads": compute.threads,
        "libraries": libraries(),
        "deterministic": compute.device.type == "cpu"
        or torch.are_deterministic_algorithms_enabled(),
    }


def libraries() -> dict[str, str]:
    """The settings that affect bits of results, for one CPU model and set of versions."""
    found = {"cpu_capability": torch.backends.cpu.get_cpu_capability()}
    for name in VARIABLES:
        if name in os.environ:
            found[name] = os.environ[name][:LONGEST]
    return found


def other_bits(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Differences between two sessions that change bits of results; empty if there are none.

    Data that an older session did not record are assumed to be equal. OpenCV, used by 0.1.0,
    resized frames in the same way as `envs.area`.
    """
    facts = []
    for session in (before, now):
        flat = {key: session[key] for key in ("device_name", "precision") if key in session}
        for group in ("packages", "libraries"):
            table = session.get(group)
            flat |= table if isinstance(table, dict) else {}
        flat.pop("opencv-python-headless", None)
        facts.append(flat)
    old, new = facts
    keys = sorted(old.keys() | new.keys()) if "libraries" in before else sorted(old)
    return "; ".join(
        f"{key}: {old.get(key, 'not set')} there, {new.get(key, 'not set')} now"
        for key in keys
        if old.get(key) != new.get(key)
    )


def version(package: str) -> str | None:
    """Version of a package, if it is installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def device_name(device: torch.device) -> str:
    """The GPU's name, or the CPU's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the checkout that contains `folder`, and whether its files differ from it.

    None outside a checkout of ezcli. If git fails, the commit is None and `unknown` has the reason.
    Variables such as `GIT_DIR` could refer to another repository, so none is passed on. Git may
    trust another user's checkout here, because its code already runs.
    """
    root = folder.parents[1]
    if not (root / ".git").exists():
        return None
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    trusting = ["-c", f"safe.directory={root}", "-c", "core.fsmonitor=false"]
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(root), *trusting, *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=GIT_SECONDS,
                env=environment | {"LC_ALL": "C"},
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except OSError as error:
        return {"commit": None, "dirty": None, "unknown": f"git cannot be run: {error.strerror}"}
    except subprocess.TimeoutExpired:
        unknown = f"git took more than {GIT_SECONDS} seconds"
        return {"commit": None, "dirty": None, "unknown": unknown}
    except subprocess.CalledProcessError as error:
        first = next(
            iter(error.stderr.splitlines()), f"git failed with exit code {error.returncode}"
        )
        return {"commit": None, "dirty": None, "unknown": first}
    return {"commit": commit, "dirty": bool(changes)}


def note_code(folder: RunFolder, config: RunConfig, say: Callable[[str], None]) -> None:
    """Records the code of a user's environment in `run.json`, if the config does not contain it.

    Configs of version 0.1.0 do not contain it.

    Raises:
      ConfigError: the code differs from the recorded code.
    """
    own = own_code(config.env)
    if own is None or own.code:
        return
    noted = folder.noted_code()
    target = locate(own.target, noted)
    if noted:
        return
    if folder.sessions():
        say(f"{folder.name} has no record of the code of {target!r}. It is recorded from now on.")
    folder.update_info(code=code_of(target))


def peak_memory() -> int:
    """Peak main memory of this process, bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def now() -> str:
    """The current time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
