"""Compiled layers have the gradients of the layers as they are, and are compiled once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import torch

from logpi.worlds.lm.attention import keep_out_of_graphs
from logpi.worlds.lm.inputs import Completions
from logpi.worlds.lm.policy import LMPolicy
from worlds.lm.policy_cases import accumulated, distance, model

needs_a_compiler = pytest.mark.skipif(
    not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))),
    reason="there is no C++ compiler",
)
REFUSED = """
from logpi.core.errors import ConfigError
from logpi.worlds.lm.compiled import check_compiler
try:
    check_compiler()
except ConfigError as error:
    print(error)
"""


def batch(rows, longest, seed):
    """Completions of 2 prompts whose lengths are all different from another seed's."""
    g = torch.Generator().manual_seed(seed)
    prompts = tuple(torch.randint(2, 17, (4 + seed + k,), generator=g) for k in range(2))
    length = torch.randint(2, longest, (rows,), generator=g)
    tokens = torch.randint(2, 17, (rows, longest), generator=g)
    return Completions(prompts, torch.arange(rows) % 2, tokens, length)


@pytest.mark.slow
def test_attention_that_is_kept_out_of_graphs_is_the_same():
    lm = model("llama")
    before = LMPolicy(lm)
    inputs = batch(6, 9, 0)
    expected = before.log_prob(inputs)
    keep_out_of_graphs()
    assert LMPolicy(lm).packed
    assert torch.equal(before.log_prob(inputs), expected)


@pytest.mark.slow
@needs_a_compiler
@pytest.mark.filterwarnings("ignore")  # torch's compiler hides its own when they are shown
def test_compiled_layers_have_the_same_gradients_and_are_compiled_once():
    from torch._dynamo.utils import counters  # takes seconds, and is wanted here alone

    lm = model("llama", dtype="float32")
    plain, compiled = LMPolicy(lm, token_budget=60), LMPolicy(lm, token_budget=60, compiled=True)
    made = []
    for seed, (rows, longest) in enumerate([(8, 9), (11, 14), (5, 23)]):
        inputs = batch(rows, longest, seed)
        coefficient = torch.randn(inputs.mask.shape) * inputs.mask
        expected = accumulated(plain, inputs, inputs.mask, coefficient)
        assert distance(accumulated(compiled, inputs, inputs.mask, coefficient), expected) < 1e-4
        made.append(counters["stats"]["unique_graphs"])
        assert torch.equal(compiled.log_prob(inputs), plain.log_prob(inputs))
    assert made[0] > 0
    assert made[2] == made[1] == made[0]
    assert all("forward" not in vars(module) for module in lm.model.modules())


@pytest.mark.slow
def test_without_a_compiler_it_says_so(tmp_path):
    environment = {
        **os.environ,
        "CXX": str(tmp_path / "nothing"),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-c", REFUSED],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("world.compile is true, but torch compiles nothing here:")
