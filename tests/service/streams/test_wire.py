"""What is generated is what the proto generates."""

import re
import subprocess
import sys
from pathlib import Path

from service.streams.wire import detection_pb2

WIRE = Path(detection_pb2.__file__).parent
ROOT = WIRE.parents[2]
GENERATED = ("detection_pb2.py", "detection_pb2.pyi", "detection_pb2_grpc.py")


def test_the_generated_code_is_that_of_the_proto(tmp_path: Path):
    (recipe,) = re.findall(r"-m (grpc_tools\.protoc .*)", (ROOT / "Makefile").read_text())
    command = recipe.replace("_out=.", f"_out={tmp_path}").split()
    subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=True, timeout=60)
    for name in GENERATED:
        assert (tmp_path / "service/streams/wire" / name).read_bytes() == (WIRE / name).read_bytes(), name
