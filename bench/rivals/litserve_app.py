"""What a user of LitServe would write for the same model: ``POST /predict`` with the photo as the body.

Favours done to it: the photo travels as raw bytes (LitServe's own forms are JSON with base64 and multipart, both
dearer), the worker answers a finished Response (LitServe would serialise a dict in the process that serves HTTP), and
OpenVINO's threads are divided among the workers. Which arrangement is fastest is for the measurement to find; see
``bench/contenders.py`` for those tried. A batch timeout of 0 makes LitServe's batching loop spin on a core, so batches
wait a little.

    PYTHONPATH=.:bench ~/.cache/yolov7-service/bench/rivals/bin/python bench/rivals/litserve_app.py --help
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import litserve
from fastapi import Depends, Request, Response
from pair import parse_pair
from rivals.engines import Engine, OpenVinoEngine, OpenVinoOptions, SleepingEngine
from rivals.pipeline import Prepared, answer, prepare

from service.vision.detections import Candidates


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """What each worker builds: a sleeping engine, or OpenVINO for a model."""

    sleep_s: float
    model: Path | None
    options: OpenVinoOptions

    def build(self) -> Engine:
        """Takes seconds for a model."""
        if self.model is None:
            return SleepingEngine(self.sleep_s, self.options.shapes_hw)
        return OpenVinoEngine(self.model, self.options)


async def _body(request: Request) -> bytes:
    return await request.body()


class Detect(litserve.LitAPI):
    """One photo after the other, or batch after batch, in each worker."""

    def __init__(self, choice: EngineChoice, **options: Any) -> None:
        super().__init__(**options)
        self._choice = choice

    def setup(self, device: str) -> None:
        """Called in each worker."""
        self._engine = self._choice.build()

    def decode_request(self, request: Annotated[bytes, Depends(_body)]) -> Prepared:
        """Decode and letterbox."""
        return prepare(request, self._engine.shapes_hw)

    def batch(self, inputs: Sequence[Prepared]) -> Sequence[Prepared]:
        """As they are: `predict` groups them by shape."""
        return inputs

    def predict(self, x: Any) -> Any:
        """Candidates of one photo, or of each of a batch, with what is needed to answer."""
        if isinstance(x, Prepared):
            return self._engine.infer([x.pixels])[0], x.letterbox
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, prepared in enumerate(x):
            groups.setdefault(prepared.pixels.shape, []).append(index)
        found: list[Any] = [None] * len(x)
        for indices in groups.values():
            for index, candidates in zip(indices, self._engine.infer([x[i].pixels for i in indices]), strict=True):
                found[index] = candidates, x[index].letterbox
        return found

    def encode_response(self, output: tuple[Candidates, Any]) -> Response:
        """Suppression and JSON."""
        return Response(answer(*output), media_type="application/json")


class DetectAsync(Detect):
    """Many photos at a time in each worker: LitServe decodes in threads and awaits the engine."""

    async def predict(self, x: Prepared) -> Any:
        """Candidates of one photo, with what is needed to answer."""
        return (await self._engine.infer_async([x.pixels]))[0], x.letterbox


def main() -> None:
    """Serve until a signal."""
    arguments = _arguments()
    options = OpenVinoOptions(
        precision=arguments.precision,
        streams=arguments.streams,
        threads=arguments.threads,
        max_batch_size=arguments.max_batch_size,
        shapes_hw=arguments.shapes,
    )
    choice = EngineChoice(arguments.sleep_ms / 1000, arguments.model, options)
    if arguments.concurrent:
        api: litserve.LitAPI = DetectAsync(choice, enable_async=True)
    else:
        api = Detect(choice, max_batch_size=arguments.max_batch_size, batch_timeout=arguments.batch_timeout_ms / 1000)
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=arguments.workers, fast_queue=arguments.fast_queue
    )
    server.run(
        host="127.0.0.1",
        port=arguments.port,
        num_api_servers=arguments.api_servers,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8124)
    parser.add_argument("--model", type=Path, help="folder of the model repository (default: an engine that sleeps)")
    parser.add_argument("--sleep-ms", type=float, default=2.0)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument(
        "--shapes", type=parse_pair, nargs="*", default=[], metavar="HxW", help="(default: all of the model)"
    )
    parser.add_argument("--streams", type=int, default=1, help="of OpenVINO, in each worker")
    parser.add_argument("--threads", type=int, default=1, help="of OpenVINO, in each worker")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--concurrent", action="store_true", help="enable_async")
    parser.add_argument("--max-batch-size", type=int, default=1)
    parser.add_argument("--batch-timeout-ms", type=float, default=0.0)
    parser.add_argument("--api-servers", type=int, default=1)
    parser.add_argument("--fast-queue", action="store_true", help="answers travel by ZeroMQ")
    return parser.parse_args()


if __name__ == "__main__":
    main()
