"""Fixtures that the whole suite shares, and the rule about skips."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says something of the machine's other work, not of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

_ROOT = Path(__file__).resolve().parent.parent
_SHARED = _ROOT.parent / "shared"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the golden numbers that travel with the repository."""
    return _ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def shared_golden() -> Path:
    """Folder of the golden files too large to travel; skips by name where it is absent."""
    folder = _SHARED / "golden"
    if not folder.is_dir():
        pytest.skip("needs ../shared/golden")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real annotated images; skips by name where it is absent."""
    folder = _SHARED / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data")
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """The shipped model repository."""
    return _ROOT / "model_repository"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    chain, key = folder / "chain.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-out", str(chain)]
    subprocess.run([*command, "-keyout", str(key)], check=True, capture_output=True, timeout=30)
    return chain, key


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """With REQUIRE_ALL=1 only a missing GPU or ../shared excuses a skip."""
    report = yield
    if os.environ.get("REQUIRE_ALL") == "1" and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(call.excinfo.value) if call.excinfo else ""
        if "../shared" not in reason and "GPU" not in reason:
            report.outcome, report.longrepr = "failed", f"skipped although REQUIRE_ALL=1: {reason}"
    return report
