"""The public surface as a golden list, and what importing it costs."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time

import pytest

SURFACE = {}


@pytest.mark.parametrize("module", SURFACE)
def test_surface(module):
    """A change here is a change for users: it belongs into changelog.d/ as well."""
    names = importlib.import_module(module).__all__
    assert sorted(names) == sorted(SURFACE[module])


@pytest.mark.parametrize("module", SURFACE)
def test_every_name_is_there(module):
    imported = importlib.import_module(module)
    for name in imported.__all__:
        assert getattr(imported, name) is not None


def test_train_is_callable_whatever_was_imported_before():
    import logpi
    import logpi.train.config

    assert callable(logpi.train)
    assert logpi.train.config is sys.modules["logpi.train.config"]


def test_an_unknown_name_says_what_there_is():
    import logpi

    with pytest.raises(AttributeError, match="RECIPES"):
        logpi.recipies  # noqa: B018  the access is the test


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_import_is_cheap():
    code = (
        "import time; start = time.process_time(); import logpi; print(time.process_time() - start)"
    )
    assert min(float(run(code)) for _ in range(3)) < 0.3


def test_import_loads_no_heavy_library():
    heavy = ["torch", "transformers", "numpy", "pydantic", "numba", "datasets"]
    code = f"import sys, logpi; print([m for m in {heavy} if m in sys.modules])"
    assert run(code) == "[]"


def test_help_is_quick():
    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "logpi", "--help"], capture_output=True, check=True, timeout=60
        )
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.5
