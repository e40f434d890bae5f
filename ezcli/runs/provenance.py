"""What a result must carry to be believed: versions, device, code, environment contract."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from ezcli import __version__
from ezcli.runs.compute import Compute

PACKAGES = ("torch", "numba", "numpy", "ale-py", "opencv-python-headless", "pydantic")


def provenance(compute: Compute) -> dict[str, Any]:
    """Entries for `run.json`. No environment variables and no host names: they may be secret."""
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
        "deterministic": compute.device.type == "cpu"
        or torch.are_deterministic_algorithms_enabled(),
    }


def version(package: str) -> str | None:
    """Installed version of a package, if it is installed under that name."""
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
    """Commit and whether files differ from it; None outside a checkout of ezcli or without git."""
    if not (folder.parents[1] / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "dirty": bool(changes)}
