import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tests.worlds.lm import reward_functions as f

from logpi.core.errors import ConfigError, RewardError
from logpi.worlds.lm import pool
from logpi.worlds.lm.rewards import Rewards, load_function


def score(rewards, completions, **columns):
    rows = [{k: v[i] for k, v in columns.items()} for i in range(len(completions))]
    return rewards([f"p{i}" for i in range(len(completions))], completions, rows)


def moods(reward, *given, timeout=5.0, max_missing=1.0):
    with Rewards(reward, timeout=timeout, max_missing=max_missing) as rewards:
        return score(rewards, [""] * len(given), mood=given)


def gone(pid):
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


# -- what is returned -----------------------------------------------------------------------------


def test_order_is_kept_with_several_workers():
    given = [float(i) for i in range(137)]
    with Rewards(f.echo, workers=3) as rewards:
        assert score(rewards, [""] * 137, value=given).reward == given


def test_workers_run_at_the_same_time():
    with Rewards(f.slowly, workers=4) as rewards:
        score(rewards, ["1"] * 4)  # the workers have started
        start = time.monotonic()
        assert score(rewards, ["1"] * 16).reward == [1.0] * 16
        assert time.monotonic() - start < 0.6  # 0.8 s one after the other


def test_a_function_sees_the_columns_it_asks_for():
    with Rewards(f.answered) as rewards:
        found = score(rewards, ["1", "2"], answer=["1", "1"], prompt=["x", "y"], other=[0, 0])
    assert found.reward == [1.0, 0.0]


def test_a_column_that_is_asked_for_and_absent_stops_the_run():
    with (
        Rewards(f.answered) as rewards,
        pytest.raises(RewardError, match=r"`answered` asks for `answer`.* are: `question`"),
    ):
        score(rewards, ["1"], question=["1"])


def test_a_column_named_like_an_option_of_a_builtin_is_data():
    with Rewards("exact_match") as rewards:
        found = score(rewards, ["1"], answer=["1"], right=["yes"], wrong=["no"])
    assert found.reward == [1.0]


def test_lambdas_closures_and_objects():
    bonus = 3
    with Rewards([lambda prompt, completion: bonus, f.Judge(2.0)]) as rewards:
        assert score(rewards, ["x"]).reward == [5.0]


def test_numpy_and_torch_numbers():
    for given in (np.float32(0.5), np.array(0.5), np.int64(1), np.bool_(True)):
        with Rewards(lambda prompt, completion, given=given: given) as rewards:
            assert score(rewards, ["x"]).reward == [float(given)]


def test_no_rows():
    with Rewards(f.length) as rewards:
        assert score(rewards, []).reward == []


def test_lists_of_unequal_length():
    with (
        Rewards(f.length) as rewards,
        pytest.raises(RewardError, match="2 completions came with 1"),
    ):
        rewards(["p"], ["a", "b"], [{}, {}])


# -- several rewards ------------------------------------------------------------------------------


def test_weights_and_parts():
    with Rewards([f.length, f.moody, f.length], weights=[2, 10, -1], max_missing=1) as rewards:
        found = score(rewards, ["abc", "ab"], mood=["good", "none"])
    assert found.reward == [13.0, None]
    assert found.parts == {"length": [3.0, 2.0], "moody": [1.0, None], "length_2": [3.0, 2.0]}
    assert found.reasons == {"`moody` returned None": 1}


def test_a_number_joins_steps_at_the_last():
    with Rewards([f.steps, f.length]) as rewards:
        found = score(rewards, ["abc"])
    assert found.reward == [[1.0, 1.0, 4.0]]
    assert found.parts["steps"] == [3.0]


def test_steps_that_disagree():
    with (
        Rewards([f.steps, lambda prompt, completion: [1.0]]) as rewards,
        pytest.raises(RewardError, match="lists of 1 and 3 numbers"),
    ):
        score(rewards, ["abc"])


def test_wrong_weights():
    with pytest.raises(ConfigError, match="one finite number each"):
        Rewards([f.length], weights=[1, 2])


# -- what is missing ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mood", "reason"),
    [
        ("none", "returned None"),
        ("nan", "returned nan"),
        ("inf", "returned -inf"),
        ("huge", "returned inf"),
        ("raise", "KeyError: 'no such key'"),
        ("exit", "SystemExit: bye"),
        ("die", "ended its process (exit code 3)"),
        ("crash", "ended its process (signal SIGSEGV)"),
    ],
)
def test_missing_is_not_zero_and_has_a_reason(mood, reason):
    found = moods(f.moody, "good", mood, "good")
    assert found.reward == [1.0, None, 1.0]
    assert found.missing == 1
    assert found.reasons == {f"`moody` {reason}": 1}


@pytest.mark.parametrize("mood", ["hang", "spin", "child"])
def test_a_call_that_hangs_is_ended_and_the_next_rows_are_scored(mood):
    start = time.monotonic()
    found = moods(f.moody, "good", mood, "good", "good", timeout=0.4)
    assert found.reward == [1.0, None, 1.0, 1.0]
    assert found.reasons == {"`moody` took longer than 0.4 s": 1}
    assert time.monotonic() - start < 5


def test_what_a_reward_prints_does_not_reach_the_protocol(capfd):
    assert moods(f.moody, "talk", "good").reward == [1.0, 1.0]
    out, err = capfd.readouterr()
    assert out == ""
    assert "noise of a child" in err


def test_too_many_missing_says_how_many_why_and_what_to_do():
    with pytest.raises(RewardError) as raised:
        moods(f.moody, "good", "none", "raise", "raise", max_missing=0.5)
    told = str(raised.value)
    assert "3 of 4 rewards are missing" in told
    assert "2 × `moody` KeyError: 'no such key' (first in row 2: 'p2' -> '')" in told
    assert "not a 0" in told
    assert "reward_timeout" in told


def test_as_many_missing_as_allowed():
    assert moods(f.moody, "good", "none", max_missing=0.5).missing == 1


def test_hanging_rows_stop_the_run_before_all_have_hung():
    start = time.monotonic()
    with pytest.raises(RewardError, match="the run stopped there"):
        moods(f.moody, *["hang"] * 40, timeout=0.2, max_missing=0.1)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("mood", ["text", "dict"])
def test_what_is_no_reward_stops_the_run(mood):
    with pytest.raises(
        RewardError, match=r"`moody` returned .*, not a number.* The prompt was 'p1'"
    ):
        moods(f.moody, "good", mood)


# -- processes ------------------------------------------------------------------------------------


def test_workers_do_not_load_torch():
    with Rewards(f.loaded_torch) as rewards:
        assert score(rewards, ["x"]).reward == [0.0]


def test_closing_twice_leaves_no_process():
    rewards = Rewards(f.process_id)
    (pid,) = score(rewards, ["x"]).reward
    rewards.close()
    rewards.close()
    assert gone(int(pid))


def test_a_worker_that_ends_between_two_calls_costs_no_row():
    with Rewards(f.process_id, max_missing=0) as rewards:
        (pid,) = score(rewards, ["x"]).reward
        os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.2)
        assert score(rewards, ["x"]).reward != [pid]


def test_forgotten_rewards_end_their_workers():
    rewards = Rewards(f.process_id)
    (pid,) = score(rewards, ["x"]).reward
    del rewards
    assert gone(int(pid))


SCRIPT = """
import sys, time
from logpi.worlds.lm.rewards import Rewards

OFFSET = 5

def reward(prompt, completion):
    import os
    print(os.getpid(), file=open(completion, "w"), flush=True)
    time.sleep(60)
    return OFFSET

if __name__ != "__main__":
    raise SystemExit("the main module ran again")
with Rewards(reward, timeout=50) as rewards:
    rewards(["p"], [sys.argv[1]], [{}])
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.slow
def test_workers_end_with_their_parent(tmp_path, how):
    (tmp_path / "script.py").write_text(SCRIPT)
    told = tmp_path / "pid"
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(told)], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 90  # importing torch takes its time on a busy machine
    while not (told.exists() and told.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.1)
    parent.send_signal(how)
    parent.wait(30)
    assert gone(int(told.read_text()))


def test_after_an_interrupt_the_rewards_work_again():
    with Rewards(f.moody, timeout=20, max_missing=1) as rewards:
        score(rewards, [""], mood=["good"])
        # A process that a script started in the background ignores the signal.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            with pytest.raises(KeyboardInterrupt):
                score(rewards, [""] * 2, mood=["hang", "good"])
        finally:
            signal.signal(signal.SIGINT, before)
        assert score(rewards, [""], mood=["good"]).reward == [1.0]


def test_the_cost_of_a_batch():
    with Rewards("exact_match") as rewards:
        columns = {"answer": ["82"] * 256}
        score(rewards, ["82"] * 256, **columns)
        took = []
        for _ in range(5):
            start = time.perf_counter()
            score(rewards, ["82"] * 256, **columns)
            took.append(time.perf_counter() - start)
    assert min(took) < 0.1  # 9 ms on an idle core


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("exact_mach", "Did you mean `exact_match`"),
        ({"name": "regex"}, "needs pattern"),
        ({"name": "regex", "pattern": "("}, "no regular expression"),
        ({"name": "regex", "patern": "a"}, "Did you mean `pattern`"),
        (
            {"name": "overlong", "max_tokens": 5, "cache_tokens": 6},
            "0 < cache_tokens <= max_tokens",
        ),
        (
            {"name": "overlong", "max_tokens": "5", "cache_tokens": 6},
            "max_tokens='5'. Give a number",
        ),
        ({"name": "numeric_match", "tolerance": -1}, "tolerance=-1. Give a number of at least 0"),
        ({"name": "exact_match", "right": math.nan}, "right=nan. Give a finite number"),
        ({"name": "exact_match", "wrong": "x"}, "wrong='x'. Give a finite number"),
        ("step_match", "needs separator"),
        ({"name": "step_match", "separator": None}, "which is no text"),
        ({"pattern": "a"}, "is no reward"),
        (3, "is no reward"),
        ([], "is empty"),
    ],
)
def test_rewards_that_cannot_be(spec, told):
    with pytest.raises(ConfigError, match=told):
        Rewards(spec)


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"timeout": 0}, {"timeout": 1e12}, {"max_missing": 1.5}]
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ConfigError):
        Rewards(f.length, **wrong)


def test_what_cannot_be_sent():
    lock = threading.Lock()
    with pytest.raises(ConfigError, match="cannot be sent to a worker process"):
        Rewards(lambda prompt, completion: lock.locked())


def written(folder: Path, text: str) -> str:
    (folder / "judge.py").write_text(textwrap.dedent(text))
    return str(folder / "judge.py")


def test_a_function_of_a_file(tmp_path):
    (tmp_path / "beside.py").write_text("POINTS = 7")
    file = written(
        tmp_path,
        """
        from beside import POINTS
        BONUS = 1
        def helper(x):
            return x + BONUS
        def reward(prompt, completion):
            return helper(POINTS)
        """,
    )
    with Rewards(load_function(f"{file}:reward")) as rewards:
        assert score(rewards, ["x"]).reward == [8.0]


def test_a_reward_file_is_the_same_one_wherever_it_lies(tmp_path):
    found = []
    for name, points in (("here", 1.0), ("there", 2.0)):
        (tmp_path / name).mkdir()
        text = f"def reward(prompt, completion):\n    return {points}\n"
        found.append(load_function(f"{written(tmp_path / name, text)}:reward"))
    assert [f.__module__ for f in found] == ["reward_file_judge"] * 2
    for function, points in zip(found, (1.0, 2.0), strict=True):
        with Rewards(function) as rewards:
            assert score(rewards, ["x"]).reward == [points]


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        (":rewards", "Did you mean `reward`"),
        (":zzz", "It defines reward"),
        (":BONUS", "is int, not a function"),
        ("", r"file.py:function"),
        (":", r"file.py:function"),
    ],
)
def test_functions_that_are_not_in_the_file(tmp_path, ending, told):
    file = written(tmp_path, "BONUS = 1\ndef reward(prompt, completion):\n    return 1.0\n")
    with pytest.raises(ConfigError, match=told):
        load_function(file + ending)


def test_files_that_are_not_there_or_broken(tmp_path):
    file = written(tmp_path, "1 / 0")
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        load_function(f"{file}:reward")
    with pytest.raises(ConfigError, match=r"Did you mean `judge\.py`"):
        load_function(f"{tmp_path / 'juge.py'}:reward")


@pytest.mark.slow
def test_a_worker_that_was_ready_long_ago_is_not_late(monkeypatch):
    """The start-up limit counts waiting, not what the run did before the first reward."""
    monkeypatch.setattr(pool, "_STARTUP", 6.0)
    with Rewards("exact_match") as rewards:
        time.sleep(7)
        assert rewards(["1+1="], ["2"], [{"answer": "2"}]).reward == [1.0]
