"""Environments of envpool, where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

import logpi
from logpi.core.errors import ConfigError
from logpi.worlds.gym.make import make_vector

pytest.importorskip("envpool", reason="envpool is not installed")


def trained(directory, recipe, iterations, env="CartPole-v1", **told):
    given = {"options": told.pop("options", {}), "evaluate_episodes": 2}
    world = logpi.Gym(env, num_envs=3, steps=24, episodes=3, mode="envpool", **given)
    return logpi.train(
        recipe=recipe, world=world, iterations=iterations, directory=directory, quiet=True,
        seed=1, **told,
    )  # fmt: skip


def weights(run):
    return (run.model_dir / "policy.safetensors").read_bytes()


def starts(seed, resets=1):
    vector = make_vector("CartPole-v1", 3, "envpool", seed=seed)
    found = [vector.reset()[0] for _ in range(resets)]
    vector.close()
    return found


def test_episodes_follow_from_the_seed_of_the_reset():
    first, again = starts(4, resets=2)
    assert np.array_equal(first, again)
    assert np.array_equal(first, starts(4)[0])
    assert not np.array_equal(first, starts(5)[0])
    assert len(np.unique(first, axis=0)) == 3


def test_a_stream_that_is_resumed_begins_episodes_that_it_has_not_begun_before(tmp_path):
    one = make_vector("CartPole-v1", 3, "envpool", seed=4)
    seen, _ = one.reset()
    one.step([0, 1, 0])
    one.mark()
    with pytest.warns(UserWarning, match="cannot be brought back"):
        later, _, lost = one.restore(one.state())
    assert lost == [0, 1, 2]
    assert not np.array_equal(later, seen)
    one.close()


def test_a_run_that_plays_whole_episodes_goes_on_bit_for_bit(tmp_path):
    whole = trained(tmp_path / "whole", "reinforce", 3)
    trained(tmp_path / "part", "reinforce", 2)
    assert weights(trained(tmp_path / "part", "reinforce", 3, resume=True)) == weights(whole)


def test_a_stream_is_trained_again_to_the_same_weights_and_resumed_with_a_warning(tmp_path):
    one, other = (trained(tmp_path / name, "ppo", 2) for name in ("one", "other"))
    assert weights(one) == weights(other)
    with pytest.warns(UserWarning, match="They begin new episodes"):
        assert trained(tmp_path / "one", "ppo", 3, resume=True).done == 3


@pytest.mark.parametrize(
    ("env", "shape"),
    [("Blackjack-v1", (3,)), ("Catch-v0", (50,))],
)
def test_environments_are_envpools_own(env, shape, tmp_path):
    run = trained(tmp_path, "ppo", 1, env)
    assert run.policy.shape == shape  # Gymnasium's Blackjack shows 45 numbers
    assert -1 <= run.evaluate(episodes=2).mean_return <= 1


def test_its_options_are_its_own():
    make = lambda **options: make_vector("CartPole-v1", 2, "envpool", seed=0, options=options)  # noqa: E731 - one line says it
    make(num_threads=1).close()
    with pytest.raises(ConfigError, match=r"cannot make `CartPole-v1` with .*gravidy"):
        make(gravidy=3)
    with pytest.raises(ConfigError, match="option `batch_size` is not the environment's"):
        make(batch_size=1)
    with pytest.raises(ConfigError, match=r"has no `CartPool-v1`\. Did you mean `CartPole-v1`?"):
        make_vector("CartPool-v1", 2, "envpool", seed=0)
    with pytest.raises(ConfigError, match="`TicTacToe-v1` is a game of several players"):
        make_vector("TicTacToe-v1", 2, "envpool", seed=0)
