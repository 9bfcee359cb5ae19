"""What a GPU says of itself, by nvidia-smi: who it is, and how hot, fast and busy it is now. Nothing is ever set."""

import subprocess

import torch

_IDENTITY = {"name": "name", "driver": "driver_version", "power_limit_w": "power.limit", "memory_mib": "memory.total"}
_STATE = {
    "sm_mhz": "clocks.sm",
    "memory_mhz": "clocks.mem",
    "power_w": "power.draw",
    "celsius": "temperature.gpu",
    "throttled_by": "clocks_throttle_reasons.active",
}
_LIMIT_S = 10


def identity(device: torch.device) -> dict[str, str]:
    """Name, driver, limits, and the libraries; on a CPU only what computes there."""
    libraries = {
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
    }
    if device.type != "cuda":
        return {"name": "CPU", **libraries}
    name = torch.cuda.get_device_name(device)
    return {"name": name, **libraries, **_ask(_IDENTITY, device)}


def state(device: torch.device) -> dict[str, str]:
    """Clocks, power and temperature at this moment; empty on a CPU, or where nvidia-smi does not answer."""
    return _ask(_STATE, device) if device.type == "cuda" else {}


def _ask(fields: dict[str, str], device: torch.device) -> dict[str, str]:
    """A field that this driver does not know makes it answer nothing, so each is asked for by itself if need be."""
    answer = _query(",".join(fields.values()), device)
    if answer is not None:
        return dict(zip(fields, (part.strip() for part in answer.split(",")), strict=True))
    each = {name: _query(field, device) for name, field in fields.items()}
    return {name: value.strip() for name, value in each.items() if value is not None}


def _query(fields: str, device: torch.device) -> str | None:
    index = device.index if device.index is not None else torch.cuda.current_device()
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits", f"--id={index}"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None  # the figures stand without it, and the table says that clocks are unknown
