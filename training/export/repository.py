"""The model repository: Triton's layout, read by both engines, written so that nobody sees half a model.

    <name>/  config.pbtxt  spec.json  labels.txt  MODEL_CARD.md
    <name>/<version>/  model.onnx  model.onnx.passport.json  spec.json  (and other engine files with their passports)

A new model appears by one rename; a new version of an old one by the rename of its folder, after which the files beside
it are replaced one by one, spec.json last: it names the version that is current. This module does not know what is
inside a model.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from service.vision.spec import ModelSpec
from training.export.session import ExportError

MAX_BATCH_SIZE = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Publication:
    """Everything about a model but its weights.

    beside: files that go into the version's folder, moved. papers: text files beside the card, by name.
    """

    spec: ModelSpec
    card: str
    beside: tuple[Path, ...] = ()
    papers: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def staging(repository: Path) -> Iterator[Path]:
    """Yield an empty folder on the repository's own file system, gone at the end whatever happens."""
    try:
        repository.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".staged-", dir=repository))
    except OSError as exc:
        raise ExportError(f"{repository}: {exc.strerror}") from exc
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def next_version(repository: Path, name: str) -> str:
    """Return the number after the model's highest version. Raises ExportError for a name unfit for a folder."""
    if not _NAME.fullmatch(name):
        raise ExportError(f"{name!r} is no model name: letters, digits, '.', '_' and '-' only, at most 64")
    folder = repository / name
    taken = [int(entry.name) for entry in folder.iterdir() if _VERSION.fullmatch(entry.name)] if folder.is_dir() else []
    return str(max(taken, default=0) + 1)


def publish(repository: Path, model: Path, publication: Publication) -> Path:
    """Put ``model`` (an ONNX file, moved) and its papers into the repository; return the version's folder.

    Raises ExportError if the version exists already.
    """
    spec = publication.spec
    target = repository / spec.name / spec.version
    if not _VERSION.fullmatch(spec.version) or target.exists():
        raise ExportError(f"{target}: versions are numbers from 1, each published once")
    with staging(repository) as folder:
        version = folder / spec.version
        version.mkdir()
        model.replace(version / "model.onnx")
        for file in publication.beside:
            file.replace(version / file.name)
        (version / "spec.json").write_text(spec.to_json(), encoding="utf-8")
        papers = {
            "config.pbtxt": config_text(spec),
            "labels.txt": "".join(f"{name}\n" for name in spec.class_names),
            **publication.papers,
            "MODEL_CARD.md": publication.card,
            "spec.json": spec.to_json(),
        }
        for name, text in papers.items():
            (folder / name).write_text(text, encoding="utf-8")
        folder.chmod(0o755)  # mkdtemp's is private; the engines run as other users
        try:
            _move(folder, target.parent, version=spec.version, papers=list(papers))
        except OSError as exc:
            raise ExportError(f"{target}: {exc.strerror}") from exc
    return target


def _move(folder: Path, target: Path, *, version: str, papers: list[str]) -> None:
    if not target.exists():
        folder.rename(target)
        return
    (folder / version).rename(target / version)
    for name in papers:
        (folder / name).replace(target / name)


def config_text(spec: ModelSpec) -> str:
    """Return config.pbtxt: what Triton must know, written with Triton's own messages."""
    config = model_config_pb2.ModelConfig(name=spec.name, backend="onnxruntime", max_batch_size=MAX_BATCH_SIZE)
    config.input.add(name=spec.input_name, data_type=model_config_pb2.TYPE_UINT8, dims=[-1, -1, 3])
    count = spec.max_candidates
    types = (model_config_pb2.TYPE_FP32,) * 2 + (model_config_pb2.TYPE_INT32,) * 2
    for name, kind, dims in zip(spec.output_names, types, ([count, 4], [count], [count], [count]), strict=True):
        config.output.add(name=name, data_type=kind, dims=dims)
    # No queue policy: with one, tritonserver 2.51 let requests lie for up to half a second beside an idle instance. The
    # gateway bounds what is in flight and cancels by deadline.
    config.dynamic_batching.SetInParent()
    for height, width in spec.input_shapes:
        warm_up = config.model_warmup.add(name=f"{height}x{width}", batch_size=1)
        warm_up.inputs[spec.input_name].data_type = model_config_pb2.TYPE_UINT8
        warm_up.inputs[spec.input_name].dims.extend([height, width, 3])
        warm_up.inputs[spec.input_name].random_data = True
    text: str = text_format.MessageToString(config)
    return f"# Written by yolov7-training export.\n{text}"
