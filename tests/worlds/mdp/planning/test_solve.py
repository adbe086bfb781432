"""One function for every method: they agree, and what is asked wrongly is named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.mdp import zoo
from logpi.worlds.mdp.planning.evaluate import evaluate
from logpi.worlds.mdp.planning.solve import METHODS, solve

from .cases import random_model, seeds

OPTIMAL = sorted(set(METHODS) - {"soft_policy_iteration", "average_reward"})


@settings(max_examples=25)
@given(seeds, st.sampled_from((0.0, 0.8, 0.99)), st.sampled_from((np.float64, np.float32)))
def test_every_method_agrees_with_every_other(seed, discount, dtype):
    m = random_model(seed, discount, dtype=dtype)
    tolerance = (1e-2 if dtype == np.float32 else 1e-6) * (1 + np.abs(m.reward).max())
    found = [solve(m, method, tolerance) for method in OPTIMAL]
    for one in found:
        assert one.bound <= tolerance
        assert one.value.dtype == dtype
        for other in found:
            assert np.abs(one.value - other.value).max() <= one.bound + other.bound
        own = evaluate(m, one.policy)
        assert (own >= one.value - one.bound - 4 * tolerance / (1 - discount)).all()


@pytest.mark.parametrize("method", sorted(set(OPTIMAL) - {"modified_policy_iteration"}))
def test_discount_1_where_episodes_end(method):
    found = solve(zoo.cliff(), method)
    assert found.value[36] == pytest.approx(-13, abs=1e-6)


def test_auto_says_what_it_chose():
    assert solve(zoo.garnet()).method.startswith("auto: ")
    assert "discount is 1" in solve(zoo.cliff()).method
    assert solve(zoo.garnet(), history=True).history


def test_each_method_has_a_line_of_description():
    for name, function in METHODS.items():
        assert function.__doc__, name
        assert len(function.__doc__.splitlines()[0]) < 100


def test_the_average_reward_and_soft_policies_are_methods_too():
    assert solve(zoo.taxicab(), "average_reward").facts["gain"] == pytest.approx(1588 / 119)
    soft = solve(zoo.two_state(), "soft_policy_iteration", beta=0.1)
    assert soft.policy.shape == (2, 3)


def test_a_horizon():
    found = solve(zoo.two_state(), horizon=2, history=True)
    assert np.allclose(found.value, 1.9)
    assert len(found.history) == 2
    with pytest.raises(ConfigError, match="leave out `value_iteration`"):
        solve(zoo.two_state(), "value_iteration", horizon=2)
    with pytest.raises(ConfigError, match="no option `beta`"):
        solve(zoo.two_state(), horizon=2, beta=1.0)


def test_near_misses_are_named():
    with pytest.raises(ConfigError, match=r"`value_iterations`\. Did you mean `value_iter"):
        solve(zoo.two_state(), "value_iterations")
    with pytest.raises(ConfigError, match=r"`start_values`\. Did you mean `start_value`"):
        solve(zoo.two_state(), "value_iteration", start_values=np.zeros(2))


def test_discount_1_without_an_end_names_a_state():
    with pytest.raises(ModelError, match="from state 0 no policy does"):
        solve(zoo.two_state(discount=1.0))


def test_a_solution_shows_its_sizes_and_not_its_arrays():
    shown = repr(solve(zoo.make("book_grid"), "policy_iteration"))
    assert shown.startswith("Solution('policy iteration', states=25, bound=")
    assert len(shown) < 120


@pytest.mark.parametrize(
    ("given", "told", "said"),
    [
        ("book_grid", {}, r"solve takes a FiniteMDP, not 'book_grid'.*zoo\.make\('book_grid'\)"),
        (None, {}, "solve takes a FiniteMDP, not a NoneType"),
        (zoo.make("two_state"), {"method": 3}, "there is no method `3`"),
        (zoo.make("two_state"), {"tolerance": "small"}, "tolerance is small but must be"),
        (zoo.make("two_state"), {"method": "soft_policy_iteration"}, "needs its option `beta`"),
        (
            zoo.make("two_state"),
            {"method": "modified_policy_iteration", "history": True},
            "keeps no history of its iterates. These do: auto, value_iteration",
        ),
    ],
)
def test_what_is_no_model_no_method_and_no_number(given, told, said):
    with pytest.raises(ConfigError, match=said):
        solve(given, **told)


def test_a_policy_of_what_is_no_model():
    with pytest.raises(ConfigError, match="takes a FiniteMDP, not 'cliff'"):
        evaluate("cliff", [0])
