from fractions import Fraction

import pytest

from logpi.core.errors import RewardError
from logpi.worlds.lm.graders import (
    BUILTINS,
    exact_match,
    last_number,
    math,
    overlong,
    regex,
    step_match,
)
from logpi.worlds.lm.graders import numeric_match as number
from logpi.worlds.lm.rewards import Rewards


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x=-3", "-3"),
        ("5-3", "3"),
        ("5 - 3", "3"),
        ("f(2)-7", "7"),
        ("−4", "-4"),
        ("+4", "4"),
        ("1,234.5", "1234.5"),
        ("$12,345,678.", "12345678"),
        ("1, 2", "2"),
        ("3/4", "3/4"),
        ("-3 / 4", "-3/4"),
        (".5", "1/2"),
        ("82.", "82"),
        ("1e-3", "1/1000"),
        ("2E+2", "200"),
        ("7, not 1/0", "7"),
        ("10%", "10"),
        ("12:30", "30"),
        ("as x2 says", None),
        ("...", None),
        ("", None),
        ("9" * 6000, None),
    ],
)
def test_last_number(text, value):
    assert last_number(text) == (None if value is None else Fraction(value))


def test_numbers_are_compared_with_a_tolerance():
    assert number("", "0.3333", answer="1/3", tolerance=1e-3) == 1
    assert number("", "0.3333", answer="1/3") == 0
    assert number("", "1000000.5", answer=1_000_000) == 1  # relative, above 1
    assert number("", "0.5000005", answer=0.5) == 1
    assert number("", "it is 12", answer=12.0) == 1
    assert number("", "", answer="3", right=2, wrong=-1) == -1


def test_an_answer_without_a_number_is_a_bad_row():
    with pytest.raises(ValueError, match="holds no number"):
        number("", "3", answer="three")


def test_exact_match_forgives_white_space_only():
    assert exact_match("", " 82\n", answer=" 82") == 1
    assert exact_match("", "8 2", answer="82") == 0
    assert exact_match("", "82", answer=82) == 1
    assert exact_match("", "x", answer="82", right=10, wrong=-10) == -10


def test_regex():
    assert regex("", "a82b", pattern=r"\d+") == 1
    assert regex("", "a82b", pattern=r"\d+", full=True) == 0
    assert regex("", "= 82 .", pattern=r"=([^.]*)", group=1, answer=82) == 1
    assert regex("", "= 83 .", pattern=r"=(?P<it>[^.]*)", group="it", answer=82) == 0
    assert regex("", "ab", pattern="(x)?ab", group=1, answer="x") == 0
    with pytest.raises(ValueError, match="no column `answer`"):
        regex("", "a", pattern="(a)", group=1)


@pytest.mark.parametrize(
    ("completion", "answer", "right"),
    [
        (r"The answer is $\frac{1}{2}$.", "0.5", 1),
        (r"\boxed{2x + 2}", "2(x+1)", 1),
        ("so 1/2", r"\frac{1}{2}", 1),
        (r"\boxed{x^2+2x+1}", "$(x+1)^2$", 1),
        ("$x = 3$", "3", 1),
        ("it is 4", "3", 0),
        ("no idea", "3", 0),
        (r"$\frac{1}{$", "3", 0),
        ("", "3", 0),
    ],
)
def test_mathematics(completion, answer, right):
    assert math("", completion, answer=answer) == right


def test_an_answer_that_is_no_mathematics_is_a_bad_row():
    with pytest.raises(ValueError, match="cannot be read as mathematics"):
        math("", "3", answer="")


def test_mathematics_runs_in_a_worker():
    with Rewards("math") as rewards:
        found = rewards(["q"] * 2, [r"\boxed{1/2}", "7"], [{"answer": "0.5"}] * 2)
    assert found.reward == [1.0, 0.0]


def test_overlong_is_equation_13():
    limits = {"max_tokens": 16384, "cache_tokens": 4096}
    for tokens, reward in [
        (1, 0),
        (12288, 0),
        (12289, -1 / 4096),
        (14336, -0.5),
        (16384, -1),
        (20480, -1),
    ]:
        assert overlong("", "", completion_tokens=tokens, **limits) == reward


def test_overlong_adds_to_another_reward():
    spec = ["exact_match", {"name": "overlong", "max_tokens": 20, "cache_tokens": 10}]
    with Rewards(spec) as rewards:
        columns = {"answer": "82", "completion_tokens": 15}
        found = rewards(["p"], ["82"], [columns])
        assert found.reward == [0.5]
        assert found.parts == {"exact_match": [1.0], "overlong": [-0.5]}
        with pytest.raises(RewardError, match="`overlong` asks for `completion_tokens`"):
            rewards(["p"], ["82"], [{"answer": "82"}])


def test_every_builtin_tolerates_further_columns():
    given = {"answer": "1", "completion_tokens": 1, "difficulty": 3}
    options = {
        "regex": {"pattern": "1"},
        "overlong": {"max_tokens": 2, "cache_tokens": 1},
        "step_match": {"separator": ";"},
    }
    for name, builtin in BUILTINS.items():
        assert builtin("p", "1", **given, **options.get(name, {})) in (0.0, 1.0, [1.0])


@pytest.mark.parametrize(
    ("completion", "rewards"),
    [
        ("3+4=7;7*2=14", [0.5, 0.5]),
        ("3+4=7;7*2=15", [0.5, 0.0]),
        ("3+4=8;7*2=14", [0.0, 0.5]),
        ("3+4=7", [0.0]),  # no separator: the step has not ended
        ("3+4=7;", [0.0]),  # right so far, but the answer goes on
        ("3+4=7;7*2=14;1", [0.5, 0.0, 0.0]),
        ("", [0.0]),
    ],
)
def test_each_step_is_compared_with_the_answers(completion, rewards):
    assert step_match("", completion, answer="3+4=7;7*2=14", separator=";") == rewards


def test_each_character_is_compared_with_the_answers():
    told = {"28": 1.0, "281": 1.0, "2": 0.0, "18": 0.5, "82": 0.0, "": 0.0}
    found = {text: step_match("", text, answer=28, separator="") for text in told}
    assert {text: sum(steps) for text, steps in found.items()} == told
    assert all(len(steps) == max(len(text), 1) for text, steps in found.items())
