"""Which recipe a model is quantised by: ``configs/quantise/<variant>.toml``, or ``default.toml`` without one."""

from pathlib import Path

from training.config import ConfigError
from training.export.passports import read_spec

_FOLDER = Path(__file__).parents[2] / "configs" / "quantise"
RECIPES = tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def find_recipe(named: str | None, model: Path) -> Path:
    """The file ``named``, or shipped under that name, or meant for the variant of ``model``.

    Raises ConfigError, ExportError.
    """
    if named is None:
        variant = read_spec(model.parent).variant
        return _FOLDER / f"{variant if variant in RECIPES else 'default'}.toml"
    path = Path(named) if Path(named).suffix else _FOLDER / f"{named}.toml"
    if not path.is_file():
        raise ConfigError(f"there is no recipe {path}")
    return path
