"""docs/reference/settings.md: each setting of service.settings, in its order, with what it takes and what it means."""

from pathlib import Path
from typing import get_args

from annotated_types import Ge, Gt, Le
from markup import code, plain, table
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from service.settings import PREFIX, Settings, choices, written

# The first setting of each group, in the order of the code.
GROUPS = {
    "host": "Addresses, processes, logs",
    "model_repository": "Models",
    "precision": "The embedded engine",
    "triton_urls": "Triton",
    "cache_memory_bytes": "Cache and Redis",
    "keys_file": "Keys and rates",
    "worker_threads": "Limits of requests",
    "max_streams": "Streams",
    "drain_delay_s": "The end",
}
UNITS = {"s": "whole seconds", "ms": "whole milliseconds", "bytes": "bytes", "pixels": "pixels"}
HEADS = ("variable", "flag of `serve`", "takes", "default", "")
HEAD = f"""# Settings

What an operator may choose. Each setting is read from its environment variable and from its flag of
`yolov7-service serve`, which wins; an empty variable counts as unset. A variable `{PREFIX}…` that is not here, or a
value that cannot be, stops the start with one line. What is in force is logged at the start, without secrets.

This page is written from `service/settings.py` by `make reference`.

"""
TAIL = """## Secrets in files

A setting that has a sibling with `_FILE` may lie in that file instead, so that no environment and no list of processes
shows it; white space around it does not count. To give both is refused.

## Variables that are no settings

"""
OTHERS = {
    f"{PREFIX}SERVICE_…": "passed over: Kubernetes sets them in containers beside a Service called `yolov7-service`",
    f"{PREFIX}KEY": "`yolov7-training evaluate` and `promote`: API key for the service at `--url`; `serve` refuses it",
    f"{PREFIX}PORT": "read by `yolov7-service health`, too: where the service of this environment listens",
    f"{PREFIX}TLS_CERTIFICATE": "read by `yolov7-service health`, too: whether it listens with TLS",
}


def page() -> str:
    """The text of docs/reference/settings.md."""
    groups: list[tuple[str, list[tuple[str, ...]]]] = []
    for name, field in Settings.model_fields.items():
        if name in GROUPS:
            groups.append((GROUPS[name], []))
        groups[-1][1].append(_row(name, field))
    return HEAD + "".join(f"## {title}\n\n{table(HEADS, rows)}" for title, rows in groups) + TAIL + _others()


def _others() -> str:
    return table(("variable", ""), ((code(name), text) for name, text in OTHERS.items())).rstrip() + "\n"


def _row(name: str, field: FieldInfo) -> tuple[str, ...]:
    default = code(written(field.default)) if field.default not in (None, "") else "unset"
    if name.endswith("_bytes"):
        default += f" ({field.default >> 20} MiB)"
    flag = f"--{name.replace('_', '-')}"
    return code(f"{PREFIX}{name.upper()}"), code(flag), _taken(name, field), default, plain(str(field.description))


def _taken(name: str, field: FieldInfo) -> str:
    if allowed := choices(name):
        return ", ".join(map(code, allowed))
    kinds = get_args(field.annotation) or (field.annotation,)
    unit = UNITS.get(name.rsplit("_", 1)[-1], "")
    if int in kinds:
        return _bounded(unit or "whole number", field)
    if float in kinds:
        return _bounded(unit.removeprefix("whole ") or "number", field)
    return "path" if Path in kinds else "secret text" if SecretStr in kinds else "text"


def _bounded(what: str, field: FieldInfo) -> str:
    least = next((f"{bound.ge}" for bound in field.metadata if isinstance(bound, Ge)), None)
    above = next((f"above {bound.gt}" for bound in field.metadata if isinstance(bound, Gt)), None)
    most = next((f"{bound.le}" for bound in field.metadata if isinstance(bound, Le)), None)
    if least and most:
        return f"{what}, {least} to {most}"
    return ", ".join(filter(None, (what, above, least and f"{least} or more", most and f"at most {most}")))
