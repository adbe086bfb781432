"""What every test shares: one torch thread, no hub, and a hypothesis that repeats itself."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile(
    "logpi",
    deadline=None,  # a shared machine stalls
    derandomize=True,  # a failure is the same failure everywhere
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("logpi")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
