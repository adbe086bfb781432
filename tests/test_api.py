"""The public surface as a golden list, and what importing it costs."""

from __future__ import annotations

import importlib
import resource
import subprocess
import sys

import pytest

SURFACE = {
    "logpi": [
        "Gym",
        "LM",
        "LogpiError",
        "MDP",
        "RECIPES",
        "Recipe",
        "Run",
        "Stopped",
        "audit",
        "core",
        "mdp",
        "recipe",
        "train",
    ],
    "logpi.recipes": ["FACTORIES", "RECIPES", "recipe"],
    "logpi.run": ["Figures", "Run", "Stopped", "train", "train_config"],
    "logpi.core": [
        "Aggregate",
        "Batch",
        "Coefficient",
        "Credit",
        "Critic",
        "Part",
        "Policy",
        "Recipe",
        "Regulariser",
        "Signals",
        "Source",
        "StepwisePolicy",
        "TrustPolicy",
        "aggregate",
        "coefficient",
        "credit",
        "divergence",
        "errors",
        "regulariser",
        "returns",
        "surrogate",
    ],
    "logpi.core.aggregate": ["fixed_length", "per_pair", "per_sequence", "per_token", "sum_tokens"],
    "logpi.core.coefficient": [
        "clipped_importance",
        "clipped_ratio",
        "dual_clipped_ratio",
        "identity_margin",
        "importance",
        "mean_preference_margin",
        "plain",
        "preference_margin",
        "reference_free_margin",
        "reference_k1",
        "reference_k2",
        "sequence_ratio",
        "soft_gate",
        "total",
        "toward_reference",
        "truncated_importance",
    ],
    "logpi.core.credit": [
        "above_greedy",
        "action_value",
        "baselined_return",
        "correct",
        "gae",
        "group_centred",
        "group_over_mean",
        "group_relative",
        "group_relative_steps",
        "leave_one_out",
        "one",
        "penalised",
        "preference_sign",
        "reward_to_go",
        "start_discounted",
        "td_error",
        "total_return",
        "vtrace",
        "whitened",
    ],
    "logpi.core.divergence": ["effective_sample_size", "entropy", "k1", "k2", "k3", "kl"],
    "logpi.core.errors": [
        "ConfigError",
        "DataError",
        "EnvironmentFailure",
        "GroupError",
        "LogpiError",
        "ModelError",
        "NonFiniteError",
        "PairError",
        "RewardError",
        "RunError",
        "ShapeError",
        "TrajectoryError",
    ],
    "logpi.core.closed": ["ClosedForm", "ClosedWorld", "Forward"],
    "logpi.core.examples": ["signals"],
    "logpi.core.groups": ["group_index", "group_mean", "group_sizes", "group_spread", "group_sum"],
    "logpi.core.near": ["within_reach"],
    "logpi.core.nearest": ["did_you_mean", "nearest"],
    "logpi.core.recipe": ["Recipe"],
    "logpi.core.regulariser": ["entropy_bonus"],
    "logpi.core.returns": [
        "discount_to_here",
        "discounted_sum",
        "lambda_return",
        "sarsa_target",
        "td_error",
        "trajectory_return",
        "vtrace_advantage",
        "vtrace_value",
    ],
    "logpi.core.seeds": ["mix", "seed_torch"],
    "logpi.core.surrogate": ["surrogate", "surrogate_slope"],
    "logpi.core.traits": [
        "Traits",
        "factory",
        "fitting",
        "made_of",
        "name_of",
        "preferring",
        "traits",
        "traits_of",
    ],
    "logpi.core.types": [
        "Aggregate",
        "Batch",
        "Coefficient",
        "Credit",
        "Critic",
        "Data",
        "KeepingSource",
        "Part",
        "Policy",
        "Regulariser",
        "Signals",
        "Source",
        "StepwisePolicy",
        "TrustPolicy",
    ],
    "logpi.core.derived": [
        "credit_and_target",
        "critic_target",
        "penalised",
        "start_discounted",
        "whitened",
    ],
    "logpi.audit": ["AuditReport", "audit", "claims", "loss", "sampled", "worst_case"],
    "logpi.mdp": [
        "FiniteMDP",
        "Layout",
        "Learned",
        "LinearSoftmax",
        "MDP",
        "METHODS",
        "Rollout",
        "Solution",
        "TabularSoftmax",
        "action_name",
        "action_values",
        "advantages",
        "as_probabilities",
        "backup",
        "batch_mc",
        "batch_td",
        "constant",
        "epsilon_greedy",
        "epsilon_soft",
        "evaluate",
        "exact",
        "exponential",
        "features",
        "from_csr",
        "from_dense",
        "from_function",
        "from_gymnasium",
        "from_mdptoolbox",
        "from_pairs",
        "gain_and_bias",
        "greedy",
        "importance_sampled",
        "inverse",
        "learn",
        "linear",
        "load",
        "mean_estimates",
        "robbins_monro",
        "rollout",
        "save",
        "solve",
        "state_name",
        "stationary",
        "stored",
        "uniform",
        "visitation",
        "visits",
        "zoo",
    ],
}


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
    heavy = [
        "torch",
        "transformers",
        "numpy",
        "pydantic",
        "numba",
        "datasets",
        "scipy",
        "gymnasium",
    ]
    code = f"import sys, logpi; print([m for m in {heavy} if m in sys.modules])"
    assert run(code) == "[]"


def test_help_is_quick():
    def seconds() -> float:
        start = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "logpi", "--help"], capture_output=True, check=True, timeout=60
        )
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        return end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime

    assert min(seconds() for _ in range(5)) < 0.5


WITHOUT = """
import sys
from importlib.machinery import PathFinder


class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        missing = name.partition(".")[0] == {missing!r}
        return None if missing else super().find_spec(name, path, target)


sys.meta_path = [Finder if x is PathFinder else x for x in sys.meta_path]
from logpi.cli.app import main

code = main({argv!r})
import logpi

try:
    logpi.{world}
except logpi.LogpiError:
    print(code, "refused")
"""


@pytest.mark.parametrize(
    ("missing", "world", "argv"),
    [
        ("gymnasium", "Gym", ["train", "ppo/cartpole"]),
        ("transformers", "LM", ["train", "grpo", "world.model=x", "world.data=y", "iterations=1"]),
    ],
)
def test_a_missing_package_is_named_with_what_brings_it(missing, world, argv, tmp_path):
    code = WITHOUT.format(missing=missing, argv=argv, world=world)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.stdout.strip() == "2 refused"
    assert done.stderr.startswith(f"ConfigError: logpi.{world} needs the package {missing}")
    assert f"pip install 'logpi[{world.lower()}]'" in done.stderr
