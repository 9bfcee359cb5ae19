"""Pins images that are pulled from elsewhere by digest: docker-compose.yml, the Dockerfiles, an overlay for Kubernetes.

    python3 deploy/pin_images.py           asks the registries, by `docker buildx imagetools inspect`, and writes
    python3 deploy/pin_images.py FILE      takes the digests from lines of `NAME:TAG sha256:…`, of who could ask
    python3 deploy/pin_images.py --list    says which images there are, and how each is pinned

A tag says what is wanted, its digest what is run: both stay, as NAME:TAG@sha256:…, and a second run moves the digest to
what the tag is now. Images of this repository are built, not pulled, and left alone. In Kubernetes the manifests stay
as they are: the component kubernetes/pinned is written, to be added to an overlay. Needs the standard library only.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Where an image is named, as `image: NAME` or `ARG BASE=NAME`.
NAMED = re.compile(
    r"(?P<before>^\s*(?:- )?image:\s+|^ARG BASE=)(?P<image>[\w./-]+:[\w.-]+)(?P<digest>@sha256:[0-9a-f]{64})?",
    re.MULTILINE,
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
OURS = re.compile(r"yolov7-\w+:")
ASK_S = 60
PINNED = """\
# Written by deploy/pin_images.py: add it to an overlay's components.
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
images:
"""


class PinError(Exception):
    """A digest that is not to be had; the text says of which image."""


def written(root: Path) -> list[Path]:
    """The files that are rewritten."""
    return [root / "docker-compose.yml", *sorted((root / "deploy").glob("*.Dockerfile"))]


def manifests(root: Path) -> list[Path]:
    """Those whose images are pinned by an overlay."""
    return sorted((root / "deploy" / "kubernetes").rglob("*.yaml"))


def images(paths: Iterable[Path]) -> dict[str, str]:
    """What is pulled, NAME:TAG, with the digest that it is pinned by, if any."""
    found: dict[str, str] = {}
    for path in paths:
        for named in NAMED.finditer(path.read_text(encoding="utf-8")):
            if not OURS.match(named["image"]):
                found.setdefault(named["image"], (named["digest"] or "").removeprefix("@"))
    return dict(sorted(found.items()))


def from_lines(text: str) -> Callable[[str], str]:
    """Digests that somebody wrote down. The function raises PinError for an image that is not there."""
    words = (line.partition("#")[0].split() for line in text.splitlines())
    known = {each[0]: each[-1] for each in words if each}

    def digest_of(image: str) -> str:
        if not DIGEST.fullmatch(known.get(image, "")):
            raise PinError(f"{image}: no digest is given for it")
        return known[image]

    return digest_of


def from_registry(image: str) -> str:
    """What the registry says now, of all platforms together. Raises PinError."""
    command = ["docker", "buildx", "imagetools", "inspect", "--format", "{{json .Manifest}}", image]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=True)  # noqa: S603
        digest = str(json.loads(asked.stdout)["digest"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as exc:
        said = str(getattr(exc, "stderr", None) or exc).strip().partition("\n")[0]
        raise PinError(f"{image}: {said}") from exc
    return digest


def pin(root: Path, digest_of: Callable[[str], str]) -> dict[str, str]:
    """Writes all digests, or none where one is missing. Raises PinError."""
    wanted = images([*written(root), *manifests(root)])
    digests = {image: digest_of(image) for image in wanted}
    for path in written(root):
        path.write_text(NAMED.sub(lambda named: _pinned(named, digests), path.read_text("utf-8")), encoding="utf-8")
    lines = [_override(image, digests[image]) for image in images(manifests(root))]
    folder = root / "deploy" / "kubernetes" / "pinned"
    folder.mkdir(exist_ok=True)
    (folder / "kustomization.yaml").write_text(PINNED + "".join(lines), encoding="utf-8")
    return digests


def _pinned(named: re.Match[str], digests: dict[str, str]) -> str:
    digest = digests.get(named["image"])
    return f"{named['before']}{named['image']}@{digest}" if digest else named[0]


def _override(image: str, digest: str) -> str:
    # Kustomize takes either a tag or a digest; the tag is in the manifest.
    return f"  - {{name: {image.rpartition(':')[0]}, digest: {digest}}} # {image.rpartition(':')[2]}\n"


def main() -> None:
    """Pin, or list; a line for each image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("digests", nargs="?", type=Path, metavar="FILE")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    try:
        given = from_lines(arguments.digests.read_text("utf-8")) if arguments.digests else from_registry
        told = images([*written(ROOT), *manifests(ROOT)]) if arguments.list else pin(ROOT, given)
    except PinError as exc:
        sys.exit(f"nothing was pinned: {exc}")
    for image, digest in told.items():
        sys.stdout.write(f"{image} {digest or 'by its tag'}\n")


if __name__ == "__main__":
    main()
