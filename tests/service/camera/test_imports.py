"""A machine that only has a camera needs nothing of the server."""

import subprocess
import sys

SERVER = ("fastapi", "openvino", "pydantic", "uvicorn", "redis", "prometheus_client", "tritonclient")

SCRIPT = f"""
import sys
sys.argv = ["yolov7-service", "camera", "nowhere.mp4"]
from service.__main__ import main
try:
    main()
except SystemExit as ended:
    assert ended.code == 1
print([name for name in {SERVER} if name in sys.modules])
"""


def test_the_camera_command_imports_nothing_of_the_server():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]", done.stdout
    assert "nowhere.mp4: there is no such file" in done.stderr
