"""Threads: one where this world learns, as before once it is closed."""

from __future__ import annotations

import contextlib

import torch

import logpi
from logpi.recipes import RECIPES
from logpi.worlds.gym.threads import blas_threads, threads


def test_torch_and_blas_take_as_many_threads_as_they_are_told():
    before = torch.get_num_threads(), blas_threads()
    with threads(2):
        assert torch.get_num_threads() == 2
        assert blas_threads() in (2, None)
        with threads(0):
            assert torch.get_num_threads() == 2
        with threads(1):
            assert (torch.get_num_threads(), blas_threads()) in ((1, 1), (1, None))
        assert torch.get_num_threads() == 2
    assert (torch.get_num_threads(), blas_threads()) == before


def test_an_open_world_has_one_thread_unless_told_otherwise(tmp_path):
    with threads(2):
        for told, wanted in (({}, 1), ({"threads": 0}, 2), ({"threads": 2}, 2)):
            world = logpi.Gym("CartPole-v1", num_envs=1, **told)
            opened = world.open("ppo", RECIPES["ppo"], seed=0, scratch=tmp_path)
            assert torch.get_num_threads() == wanted
            opened.close()
            assert torch.get_num_threads() == 2


def test_an_evaluation_takes_one_thread_too(tmp_path):
    world = logpi.Gym("CartPole-v1", num_envs=1, steps=4, evaluate_episodes=1)
    run = logpi.train(
        recipe="ppo", world=world, iterations=1, directory=tmp_path / "run", quiet=True
    )
    with threads(2):
        with contextlib.ExitStack() as resources:
            world.evaluator(RECIPES["ppo"], run.model_dir, resources, seed=0)
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2


def test_initial_weights_are_the_same_on_any_number_of_threads(tmp_path):
    def initial(count):
        with threads(count):
            opened = logpi.Gym("CartPole-v1", num_envs=1).open(
                "ppo", RECIPES["ppo"], seed=0, scratch=tmp_path
            )
            opened.close()
        return [p.detach() for net in (opened.policy, opened.critic) for p in net.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(initial(1), initial(2), strict=True))
