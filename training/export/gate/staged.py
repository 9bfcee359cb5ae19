"""A staged model: a version folder with a spec and engine files, which nobody serves yet."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from service.vision.spec import ModelSpec, SpecError
from training.export.passports import sha256_of
from training.export.session import ExportError

# What a service can be told to compute in, and the file that it reads then.
SERVED = {"f32": "model.onnx", "bf16": "model.onnx", "int8": "model.int8.xml"}
# Files that engines elsewhere run or compile.
OFFLINE = {"fp16": "model.fp16.onnx", "int8-onnx": "model.int8.onnx"}
ENGINES = SERVED | OFFLINE
_SPEC = "spec.json"


@dataclass(frozen=True, slots=True)
class Staged:
    """folder: of the version. card: the model card's text, empty where there is none."""

    folder: Path
    spec: ModelSpec
    card: str

    @property
    def onnx(self) -> Path:
        """The graph in float32."""
        return self.folder / "model.onnx"

    def precisions(self) -> tuple[str, ...]:
        """Those for which the file is there."""
        return tuple(precision for precision, name in ENGINES.items() if (self.folder / name).is_file())

    def config_for(self, name: str, engines: Iterable[str]) -> dict[str, str]:
        """Its config.pbtxt for a model called ``name``, by file name, if that is for one of these files.

        A model.onnx needs none: the repository writes what it takes.
        """
        path = self.folder.parent / "config.pbtxt"
        try:
            config = text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError, text_format.ParseError) as exc:
            raise ExportError(f"{path}: {exc}") from exc
        if config.default_model_filename not in engines:
            return {}
        config.name = name
        return {path.name: text_format.MessageToString(config)}

    def files_of(self, name: str) -> tuple[Path, ...]:
        """An engine file and what belongs to it, but for its passport."""
        file = self.folder / name
        return (file, file.with_suffix(".bin")) if file.suffix == ".xml" else (file,)

    def digests(self, name: str) -> dict[str, str]:
        """SHA-256 of an engine file and of what belongs to it, by name, as they lie there now. Raises ExportError."""
        try:
            return {part.name: sha256_of(part) for part in self.files_of(name)}
        except OSError as exc:
            raise ExportError(f"{exc.filename}: {exc.strerror}") from exc


def read_staged(path: Path) -> Staged:
    """Read a model's folder, of which the current version is taken, or a version's. Raises ExportError."""
    path = path.absolute()  # of "." the parent is "." again
    try:
        spec = ModelSpec.from_json((path / _SPEC).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, SpecError) as exc:
        raise ExportError(f"{path / _SPEC}: {exc}") from exc
    folder = path if (path / "model.onnx").is_file() else path / spec.version
    card = folder.parent / "MODEL_CARD.md"
    if not (folder / "model.onnx").is_file():
        raise ExportError(f"{folder / 'model.onnx'} is missing")
    if (found := sha256_of(folder / "model.onnx")) != spec.sha256:
        raise ExportError(f"{folder / 'model.onnx'} is not the file its spec speaks of: sha256 {found}")
    return Staged(folder, spec, card.read_text(encoding="utf-8") if card.is_file() else "")


@contextmanager
def alone(staged: Staged) -> Iterator[Path]:
    """Yield a repository of this one version, as links to its files; gone at the end."""
    with TemporaryDirectory(prefix="yolov7-gate-") as name:
        model = Path(name) / staged.spec.name
        version = model / staged.spec.version
        version.mkdir(parents=True)
        for file in staged.folder.iterdir():
            if file.is_file() and file.name != _SPEC:
                (version / file.name).symlink_to(file.absolute())
        # The one that is published, which the version's own need not be.
        for folder in (model, version):
            (folder / _SPEC).write_text(staged.spec.to_json(), encoding="utf-8")
        yield Path(name)
