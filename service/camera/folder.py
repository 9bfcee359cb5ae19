"""Pictures as files: of a folder those whose names end as pictures' do, sorted, and not those of folders within."""

from collections.abc import Iterator
from pathlib import Path

from service.camera.source import PICTURES, Source, SourceError


class Folder:
    """The pictures of a source. Raises SourceError where there is none, and when one cannot be read."""

    def __init__(self, source: Source) -> None:
        path = Path(source.location)
        if source.kind == "picture":
            self._paths = [path]
        else:
            self._paths = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in PICTURES)
        if not self._paths:
            raise SourceError(f"{source.name}: there is no picture in this folder")
        self.total = len(self._paths)

    @property
    def numbered(self) -> bool:
        """Whether each name is a number of its own, as those of COCO's pictures are."""
        stems = [path.stem for path in self._paths]
        return all(stem.isascii() and stem.isdecimal() for stem in stems) and len({*map(int, stems)}) == len(stems)

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of each."""
        for path in self._paths:
            try:
                yield path.name, path.read_bytes()
            except OSError as exc:
                raise SourceError(f"{path}: {exc.strerror}") from exc
