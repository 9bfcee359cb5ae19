"""What all tests of deploy/ share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of compiled models: the first gateway fills it, the others start from it."""
    return tmp_path_factory.mktemp("compiled")
