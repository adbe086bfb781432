"""The commands of the finite world: what they print, what they write, and what they refuse."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from tests.test_cli import call

import logpi
from logpi import mdp
from logpi.cli.models import model_of, options_of, picture_path, world_of
from logpi.cli.rewards import python_function


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def printed(capsys, *words):
    code = call(*words)
    out = capsys.readouterr()
    assert code == 0, out.err
    return out.out


def refused(capsys, *words):
    assert call(*words) == 2
    err = capsys.readouterr().err
    assert len(err.strip().splitlines()) == 1
    return err


def test_solve_draws_values_and_arrows(capsys, tmp_path):
    shown = printed(capsys, "solve", "book_grid", "--discount", "0.9", "--plot")
    assert "5.83" in shown
    assert "→" in shown
    assert (tmp_path / "book_grid.png").read_bytes().startswith(b"\x89PNG")


def test_solve_as_json_is_certified(capsys):
    words = ["solve", "book_grid", "r_forbidden=-10", "--tolerance", "1e-9", "--json"]
    told = json.loads(printed(capsys, *words))
    m = mdp.zoo.make("book_grid", r_forbidden=-10)
    assert told["bound"] <= 1e-9
    assert np.abs(np.array(told["value"]) - mdp.evaluate(m, np.array(told["policy"]))).max() < 1e-8


def test_options_may_stand_anywhere(capsys):
    a = printed(capsys, "solve", "book_grid", "rows=3", "cols=3", "--json")
    b = printed(capsys, "solve", "book_grid", "--json", "rows=3", "cols=3")
    assert json.loads(a)["value"] == json.loads(b)["value"]


def test_solve_reads_files(capsys, tmp_path):
    mdp.save(mdp.zoo.make("forest"), tmp_path / "forest.npz")
    told = json.loads(printed(capsys, "solve", "forest.npz", "--method", "auto", "--json"))
    assert told["states"] == 3
    assert "s0" in printed(capsys, "solve", "forest.npz") or told["bound"] <= 1e-6


@pytest.mark.parametrize("name", ["cliff.bin", "cliff.drn"])
def test_solve_reads_the_formats_of_others(capsys, tmp_path, name):
    mdp.save(mdp.zoo.make("cliff"), tmp_path / name)
    told = json.loads(printed(capsys, "solve", name, "--discount", "0.9", "--json"))
    best = mdp.solve(mdp.zoo.make("cliff", discount=0.9)).value
    assert np.allclose(told["value"], best, atol=1e-5)
    if name.endswith("drn"):
        words = ["solve", name, "target=target", "--discount", "0.9", "--json"]
        assert json.loads(printed(capsys, *words))["value"] == told["value"]
        assert "no `targte`" in refused(capsys, "solve", name, "targte=a", "--discount", "0.9")


@pytest.mark.parametrize("junk", [b"", b"PK\x03\x04", b"hello\n" * 99])
@pytest.mark.parametrize("ending", ["npz", "bin", "drn"])
def test_a_file_that_is_none_is_named(capsys, tmp_path, junk, ending):
    (tmp_path / f"m.{ending}").write_bytes(junk)
    discount = [] if ending == "npz" else ["--discount", "0.9"]
    assert f"m.{ending}" in refused(capsys, "solve", f"m.{ending}", *discount)


def test_solve_takes_a_gymnasium_environment_with_a_table(capsys):
    words = ["solve", "FrozenLake-v1", "is_slippery=false", "--discount", "0.9"]
    assert "→" in printed(capsys, *words)
    assert json.loads(printed(capsys, *words, "--json"))["start_value"] == pytest.approx(0.9**5)


def test_options_of_a_planning_method(capsys):
    words = ["solve", "two_state", "--method", "soft_policy_iteration", "--set", "beta=0.5"]
    told = json.loads(printed(capsys, *words, "--json"))
    found = mdp.solve(mdp.zoo.make("two_state"), "soft_policy_iteration", beta=0.5)
    assert np.allclose(told["policy"], found.policy)
    shown = printed(capsys, "solve", "taxicab", "--method", "average_reward")
    assert "gain a step 13.3445" in shown


def test_grids_fit_an_ordinary_terminal_and_others_are_drawn_as_curves(capsys, tmp_path):
    assert printed(capsys, "solve", "cliff").count("→") > 10
    printed(capsys, "solve", "gambler", "--plot")
    printed(capsys, "solve", "two_state", "--method", "policy_iteration", "--plot", "two.png")
    words = ["solve", "forest", "--method", "soft_policy_iteration", "--set", "beta=1"]
    printed(capsys, *words, "--plot", "soft.png")
    for name in ("gambler", "two", "soft"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_solve_films_its_iterations(capsys, tmp_path):
    words = ["book_grid", "rows=2", "cols=2", "--method", "value_iteration"]
    printed(capsys, "solve", *words, "--tolerance", "0.1", "--animate", "out.gif")
    assert (tmp_path / "out.gif").read_bytes().startswith(b"GIF89a")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["solve"], "which MDP?"),
        (["solve", "clif"], "Did you mean `cliff`"),
        (["solve", "cliff", "rosw=3"], "no option `rosw`"),
        (["solve", "book_grid", "rows=a"], "`rows` is 'a' but must be a whole number"),
        (["solve", "bandit", "means=[[1, 2], [3]]"], "cannot be made with means="),
        (["solve", "none.npz"], "none.npz"),
        (["solve", "cliff", "--method", "value_iteraton"], "value_iteration"),
        (["solve", "forest", "--animate", "a.gif"], "is no grid"),
        (
            ["solve", "book_grid", "--animate", "a.avi"],
            "is no name of a film. Let it end in .mp4, or in .gif",
        ),
        (["solve", "book_grid", "--plot", "nowhere/a.png"], "no picture can be written"),
        (
            ["solve", "book_grid", "--method", "soft_policy_iteration"],
            "--set beta=0.1 on the command",
        ),
        (["solve", "book_grid", "--set", "bet=1"], "`auto` has no option `bet`"),
        (["solve", "book_grid", "--tolerance", "1e-20"], "below what float64 can certify"),
        (["solve", "book_grid", "--discount", "1"], "must be able to reach a terminal one"),
        (["solve", "none.bin"], "holds no discount: say `--discount 0.99`"),
        (["solve", "none.drn", "--discount", "0.9"], "No such file"),
        (["solve", "none.txt"], "the ending says the format"),
        (["solve", "FrozenLake-v1"], "has no discount: say `--discount 0.99`"),
        (["solve", "FrozenLak-v1", "--discount", "0.9"], "Gymnasium cannot make 'FrozenLak-v1'"),
        (["solve", "FrozenLake-v1", "rows=3", "--discount", "0.9"], "unexpected keyword"),
        (["solve", "CartPole-v1", "--discount", "0.9"], "shows no transition table"),
        (["learn", "CartPole-v1", "--discount", "0.9"], "must be Discrete"),
        (["learn", "FrozenLake-v1"], "has no discount"),
        (["learn", "book_grid"], "`max_steps="),
        (["learn", "cliff", "--set", "epsilon=linear(1)"], "is no schedule"),
        (["learn", "cliff", "--episodes", "5", "--steps", "5"], "two lengths"),
        (["solve", "book_grid", "--discount", "1.5"], "discount"),
        (["mdp", "show"], "which one?"),
        (["audit", "grppo"], "Did you mean `grpo`"),
        (["audit", "grpo", "beat=0.1"], "unknown key"),
        (["audit", "grpo", "--world", "book_grid"], "horizon"),
        (["learn", "cliff", "--method", "sarsaa"], "sarsa"),
    ],
)
def test_what_cannot_be_is_refused_in_a_paragraph(capsys, words, message, tmp_path):
    assert message in refused(capsys, *words)
    assert not list(tmp_path.iterdir())


def test_the_zoo_is_listed(capsys):
    shown = printed(capsys, "mdp", "list")
    assert all(name in shown for name in mdp.zoo.names())
    assert json.loads(printed(capsys, "mdp", "list", "--json")).keys() == mdp.zoo.names().keys()
    shown = printed(capsys, "mdp", "show", "cliff")
    assert "48" in shown
    assert "Sutton" in shown
    assert ">>>" not in shown
    assert "rows=4 cols=12" in shown


@pytest.mark.slow
def test_learn_prints_a_policy_and_draws_its_curve(capsys, tmp_path):
    words = ["learn", "cliff", "--method", "sarsa", "--episodes", "50", "--plot"]
    assert "return" in printed(capsys, *words)
    assert (tmp_path / "cliff.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads(printed(capsys, *words[:-1], "--json", "--set", "alpha=0.5"))
    assert len(told["q"]) == 48
    assert "sarsa" in printed(capsys, "learn", "--list")


@pytest.mark.slow
def test_the_settings_of_what_was_learned_are_numbers(capsys):
    words = ["learn", "random_walk", "--method", "sarsa", "--episodes", "5", "--json", "--set"]
    told = json.loads(printed(capsys, *words, "epsilon=linear(1,0.1,over=9)"))["settings"]
    assert (told["alpha"], told["seed"], told["features"]) == (0.1, 0, None)
    assert told["epsilon"]["kind"] == "linear"
    assert told["epsilon"]["end"] == 0.1


def test_learn_in_steps_with_limits_and_in_environments(capsys):
    words = ["learn", "book_grid", "--steps", "2000", "--set", "behaviour=uniform", "--json"]
    told = json.loads(printed(capsys, *words))
    assert (told["steps"], told["returns"]) == (2000, [])
    assert "steps" in printed(capsys, *words[:-1])
    words = ["learn", "book_grid", "--max-steps", "9", "--episodes", "7", "--json"]
    assert json.loads(printed(capsys, *words))["steps"] == 63
    words = ["learn", "book_grid", "--method", "mc_basic", "--max-steps", "30"]
    shown = printed(capsys, *words, "--set", "iterations=9")
    assert "mc_basic on book_grid: 33,750 steps" in shown  # 9 rounds of 125 pairs, 30 steps each
    words = ["learn", "FrozenLake-v1", "--discount", "0.9", "--episodes", "9"]
    assert "│" in printed(capsys, *words, "--set", "epsilon=linear(1,0.1,over=5)")
    words = ["learn", "Blackjack-v1", "--method", "mc_control", "--discount", "1"]
    told = json.loads(printed(capsys, *words, "--episodes", "50", "--json"))
    assert (len(told["value"]), len(told["returns"])) == (704, 50)
    assert "mean return" in printed(capsys, *words, "--episodes", "50")


def test_audit_prints_its_table(capsys, tmp_path):
    shown = printed(capsys, "audit", "grpo", "--world", "tokens/capital", "--group-size", "2")
    assert "cosine" in shown
    assert shown.count("The right direction for the return") == 1
    assert "true advantage" in shown
    assert "France: The" in shown
    told = json.loads(printed(capsys, "audit", "rloo", "--group-size", "2", "--json"))
    assert told["recipe"] == "rloo"
    words = ("audit", "ppo", "low=0.1", "--world", "bandit", "--steps", "2", "--lr", "3")
    assert "ppo (low=0.1) in bandit" in printed(capsys, *words)
    pulled = json.loads(printed(capsys, "audit", "grpo", "--reference", "uniform", "--json"))
    assert "return − β·forward KL" in {fit["objective"] for fit in pulled["fits"]}
    printed(capsys, "audit", "rloo", "--group-size", "2", "--plot", "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    drawn = printed(capsys, "audit", "rloo", "--sampled", "200", "--seed", "1")
    assert drawn == printed(capsys, "audit", "rloo", "--sampled", "200", "--seed", "1")


def test_a_recipe_trains_in_the_finite_world(capsys):
    words = ["train", "a2c", "world.kind=mdp", "world.model=random_walk", "iterations=3", "--quiet"]
    assert "less than the best by" in printed(capsys, *words, "--name", "walk")
    assert "what the best policy has more" in printed(capsys, "evaluate", "walk")
    assert logpi.Run("runs/walk").policy.probabilities().shape == (7, 1)
    assert printed(capsys, "show", "walk")
    assert printed(capsys, "report", "walk")


def test_words_and_pictures_of_a_command(tmp_path):
    given = Namespace(model="book_grid", words=["rows=3", "cols=3"], discount=0.5, plot="")
    m = model_of(given)
    assert (m.states, m.discount) == (9, 0.5)
    assert picture_path(given, m) == Path("book_grid.png")
    world, m = world_of(Namespace(model="FrozenLake-v1", words=["is_slippery=false"], discount=1))
    assert (world.spec.kwargs["is_slippery"], m.states, m.actions) == (False, 16, 4)
    assert picture_path(Namespace(plot=None), m) is None
    assert options_of(["forbidden=[[1, 1]]", "slip=0.1"]) == {"forbidden": [[1, 1]], "slip": 0.1}
    (tmp_path / "r.py").write_text("def score(prompt, completion):\n    return 1.0\n")
    assert python_function(f"{tmp_path}/r.py:score")(prompt="", completion="") == 1.0
