"""Makes a model repository that a tritonserver without a GPU can serve, from one that training.export wrote.

    .venv/bin/python deploy/triton/cpu_repository.py model_repository /tmp/cpu --precision int8

Each model keeps its name, versions and tensors; config.pbtxt names the python backend, and each version gets model.py
beside its model.onnx, narrower files and papers, which are linked where they can be. The embedded engine reads the
same folder. Existing files are replaced; a server sees them when it loads the model again.

int8 and fp16 are files that `yolov7-training quantise` and `halve` make. What a CPU computes of fp16 is float32: it is
here to try that file, not for speed.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import openvino as ov
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

MODEL = Path(__file__).with_name("openvino_model.py")
Precision = Literal["bf16", "f32", "int8", "fp16"]
FILES: dict[Precision, str] = {"int8": "model.int8.xml", "fp16": "model.fp16.onnx"}
MAKERS = {"int8": "quantise", "fp16": "halve"}


class RepositoryError(Exception):
    """The source holds no model, or one that cannot be read."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How each model runs: `instances` processes of `streams` streams each, of one thread each."""

    precision: Precision
    instances: int
    streams: int

    @property
    def file(self) -> str:
        """What of a version is run."""
        return FILES.get(self.precision, "model.onnx")


def convert(source: Path, target: Path, choice: Choice) -> list[str]:
    """Write every model of `source` into `target`; return their names. Raises RepositoryError."""
    configs = sorted(source.glob("*/config.pbtxt"))
    if not configs:
        raise RepositoryError(f"no model with a config.pbtxt in {source}")
    for onnx in source.glob("*/[0-9]*/model.onnx"):
        if not onnx.with_name(choice.file).is_file():
            shown = f"{onnx.parent.relative_to(source)}/{choice.file}"
            raise RepositoryError(f"{shown} is missing: yolov7-training {MAKERS[choice.precision]} makes it")
    for path in configs:
        _convert_model(path.parent, target / path.parent.name, choice)
    return [path.parent.name for path in configs]


def cpu_config(text: str, choice: Choice) -> str:
    """Return config.pbtxt for the python backend from that of another. Raises RepositoryError."""
    try:
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise RepositoryError(f"config.pbtxt: {error}") from error
    config.backend = "python"
    for gone in ("platform", "default_model_filename", "optimization", "instance_group"):
        config.ClearField(gone)
    config.instance_group.add(kind=model_config_pb2.ModelInstanceGroup.KIND_CPU, count=choice.instances)
    # Any queue policy, and a preferred size too, makes this server's batcher sleep up to half a second while requests
    # wait: it then holds no batch ready beside the one that runs. Gateways bound what they send, and cancel it in time.
    config.dynamic_batching.Clear()
    config.dynamic_batching.SetInParent()
    streams = str(choice.streams)
    parameters = {"file": choice.file, "precision": choice.precision, "streams": streams, "threads": streams}
    for key, value in parameters.items():
        config.parameters[key].string_value = value
    written: str = text_format.MessageToString(config)
    return f"# Written by cpu_repository.py: OpenVINO on the CPU.\n{written}"


def _convert_model(source: Path, target: Path, choice: Choice) -> None:
    text = cpu_config((source / "config.pbtxt").read_text(encoding="utf-8"), choice)
    target.mkdir(parents=True, exist_ok=True)
    (target / "config.pbtxt").write_text(text, encoding="utf-8")
    for path in source.iterdir():
        if path.is_file() and path.name != "config.pbtxt":
            _place(path, target / path.name)
    for onnx in source.glob("[0-9]*/model.onnx"):
        version = target / onnx.parent.name
        version.mkdir(exist_ok=True)
        for path in onnx.parent.iterdir():
            if path.is_file() and path.suffix != ".plan":
                _place(path, version / path.name)
        shutil.copyfile(MODEL, version / "model.py")


def _place(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _default_precision() -> Precision:
    return "bf16" if "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert, and say what was written."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--precision", choices=get_args(Precision), help="default: bf16 where the CPU computes in it")
    parser.add_argument(
        "--instances", type=int, default=cores, help="processes that share the cores; default: one a core"
    )
    given = parser.parse_args(arguments)
    choice = Choice(given.precision or _default_precision(), given.instances, max(1, cores // given.instances))
    try:
        names = convert(given.source, given.target, choice)
    except RepositoryError as error:
        parser.error(str(error))
    sys.stdout.write(f"{', '.join(names)}: {choice.precision}, {choice.instances} instance(s) in {given.target}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
