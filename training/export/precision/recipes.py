"""Which recipe a model is quantised by: ``configs/quantise/<variant>.toml``, or ``default.toml`` without one."""

from pathlib import Path

from service.vision.spec import ModelSpec, SpecError
from training.config import ConfigError

_FOLDER = Path(__file__).parents[2] / "configs" / "quantise"
RECIPES = tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def find_recipe(named: str | None, model: Path) -> Path:
    """The file ``named``, or shipped under that name, or meant for the variant of ``model``. Raises ConfigError."""
    if named is None:
        variant = _variant(model.with_name("spec.json"))
        return _FOLDER / f"{variant if variant in RECIPES else 'default'}.toml"
    path = Path(named) if Path(named).suffix else _FOLDER / f"{named}.toml"
    if not path.is_file():
        raise ConfigError(f"there is no recipe {path}")
    return path


def _variant(papers: Path) -> str:
    try:
        return ModelSpec.from_json(papers.read_text(encoding="utf-8")).variant
    except SpecError as exc:
        raise ConfigError(f"{papers}: {exc}") from exc
