"""The client works where nothing of the server is installed."""

import subprocess
import sys

SERVER_ONLY = (
    "fastapi", "starlette", "uvicorn", "pydantic", "pydantic_settings", "openvino", "redis", "prometheus_client",
    "orjson", "blake3", "grpc_health", "grpc_status", "tritonclient", "torch", "cv2", "PIL",
    "service.api", "service.app", "service.live", "service.detector", "service.errors", "service.vision",
)  # fmt: skip
BLOCKER = """
import sys
BLOCKED = {blocked!r}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if any(name == blocked or name.startswith(blocked + ".") for blocked in BLOCKED):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def run(script: str, *blocked: str) -> str:
    code = BLOCKER.format(blocked=blocked) + script
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout


def test_it_needs_nothing_that_only_the_server_needs():
    assert run("from service.client import AsyncClient, Client; print('imported')", *SERVER_ONLY) == "imported\n"


def test_who_blocks_what_it_does_need_is_told():
    # So that the test above can fail.
    script = "try:\n    import service.client\nexcept ModuleNotFoundError as error:\n    print(error.name)"
    assert run(script, "httpx") == "httpx\n"


def test_without_supervision_it_is_said_what_to_install():
    script = """
import numpy as np
from service.client.results import Detections
found = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), ())
try:
    found.to_supervision()
except ImportError as error:
    print(error)
"""
    assert "pip install supervision" in run(script, "supervision")
