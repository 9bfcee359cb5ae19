"""A machine that only measures needs nothing of the server."""

import subprocess
import sys

import pytest

SERVER = ("fastapi", "openvino", "pydantic", "uvicorn", "redis", "prometheus_client", "tritonclient", "matplotlib")
SCRIPT = f"""
import sys
sys.argv = ["yolov7-service", "bench", "http://127.0.0.1:9", "--size", "64x48"]
from service.__main__ import main
try:
    main()
except SystemExit as ended:
    assert ended.code == 1
print([name for name in {SERVER} if name in sys.modules])
"""


@pytest.mark.usefixtures("k6_program")
def test_the_bench_command_imports_nothing_of_the_server():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]", done.stdout
    assert "127.0.0.1:9" in done.stderr
