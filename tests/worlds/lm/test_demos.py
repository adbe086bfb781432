from pathlib import Path

import pytest
import torch

from logpi.core.credit import gae, group_relative, leave_one_out, reward_to_go, td_error, whitened
from logpi.core.errors import ConfigError
from logpi.worlds.lm.arithmetic import solve
from logpi.worlds.lm.capital import CITIES, PROMPT, SENTENCE
from logpi.worlds.lm.data import encode, read
from logpi.worlds.lm.demos import demo_data, demo_model, demo_reward
from logpi.worlds.lm.luck import TRUE_ADVANTAGE, city_credit, prefix_moments
from logpi.worlds.lm.model import load
from logpi.worlds.lm.rewards import Rewards

EXAMPLES = Path(__file__).parents[3] / "examples"


# -- arithmetic -----------------------------------------------------------------------------------


def problems(part):
    """The problems of a part, 37+45 and 45+37 being one."""
    return {tuple(sorted(row["prompt"].rstrip("=").split("+"))) for row in demo_data(part)}


def test_no_phase_sees_a_held_out_problem():
    held = problems("demo:arithmetic/heldout")
    for part in ("noisy", "train", "pairs"):
        assert not held & problems(f"demo:arithmetic/{part}")
    assert held | problems("demo:arithmetic/train") == {
        (str(a), str(b)) for a in range(10, 100) for b in range(a, 100)
    }


def test_about_half_of_the_demonstrations_are_right_and_the_others_plausible():
    rows = demo_data("demo:arithmetic/noisy")
    right = sum(row["completion"] == solve(row["prompt"]) for row in rows) / len(rows)
    assert right == pytest.approx(0.524, abs=0.001)
    assert all(row["completion"].isdigit() and len(row["completion"]) <= 3 for row in rows)


def test_with_a_carry_most_demonstrations_are_wrong():
    carried = [
        row["completion"] == solve(row["prompt"])
        for row in demo_data("demo:arithmetic/noisy")
        if int(row["prompt"][1]) + int(row["prompt"][4]) >= 10
    ]
    assert sum(carried) / len(carried) < 0.35  # so that imitation, done well, is wrong there


def test_the_sum_is_written_ones_first():
    assert (solve("37+45="), solve("99+99="), solve("10+10=")) == ("28", "891", "02")


def test_data_is_the_same_every_time():
    for part in ("noisy", "train", "heldout", "pairs"):
        assert demo_data(f"demo:arithmetic/{part}") == demo_data(f"demo:arithmetic/{part}")


def test_the_model_reads_the_data(tmp_path):
    lm = load(demo_model("demo:arithmetic", tmp_path), device="cpu")
    assert sum(p.numel() for p in lm.model.parameters()) < 150_000
    for part, kind in (("noisy", "demonstrations"), ("train", "prompts"), ("pairs", "pairs")):
        examples = read(demo_data(f"demo:arithmetic/{part}"), kind=kind)
        for example in examples[:50]:
            prompt, *completions = encode(lm.tokenizer, example, kind=kind, context=lm.context)
            assert len(prompt) == 6
            assert all(len(completion) <= 4 for completion in completions)


def test_names_that_are_none():
    with pytest.raises(ConfigError, match="Did you mean `demo:arithmetic`"):
        demo_model("demo:arithmetics", "nowhere")
    with pytest.raises(ConfigError, match="There are demo:arithmetic/noisy"):
        demo_data("demo:x")


# -- capital --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def capital(tmp_path_factory):
    return load(demo_model("demo:capital", tmp_path_factory.mktemp("capital")), device="cpu")


def test_the_probabilities_are_exact(capital):
    words = [PROMPT, *SENTENCE]
    ids = capital.tokenizer(" ".join(words), return_tensors="pt")["input_ids"]
    with torch.no_grad():
        following = capital.model(ids).logits[0].double().softmax(-1)
    for at, word in enumerate(SENTENCE):
        token = capital.tokenizer.convert_tokens_to_ids(word)
        assert following[at, token].item() == pytest.approx(1, abs=1e-12)
    for city, probability in CITIES.items():
        token = capital.tokenizer.convert_tokens_to_ids(city)
        assert following[-1, token].item() == pytest.approx(probability, abs=1e-6)


def test_greedy_decoding_tells_the_sentence_and_stops(capital):
    prompt = capital.tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    out = capital.model.generate(prompt, do_sample=False, max_new_tokens=20)[0, 1:]
    assert out[-1] == capital.tokenizer.eos_token_id
    text = capital.tokenizer.decode(out, skip_special_tokens=True)
    assert text == "The capital of France is Paris"


def test_the_reward_of_each_city():
    row = demo_data("demo:capital")[0]
    told = [f"The capital of France is {city}" for city in CITIES]
    with Rewards(demo_reward("demo:capital")) as rewards:
        found = rewards([row["prompt"]] * 3, told, [{"answer": row["answer"]}] * 3)
    assert found.reward == [10.0, -10.0, -10.0]


def luck(credit, rows):
    mean, variance = prefix_moments(credit, rows)
    return mean.tolist(), variance.tolist()


def exactly(value):
    return pytest.approx([value] * len(SENTENCE), abs=1e-9)


def test_reinforce_pushes_the_shared_words_by_luck():
    assert luck(reward_to_go(), 1) == (exactly(8), exactly(36))


def test_a_baseline_takes_the_mean_and_leaves_the_luck():
    assert luck(reward_to_go(baseline=8.0), 1) == (exactly(0), exactly(36))


def test_a_group_takes_the_mean_and_leaves_the_luck():
    # The group's own mean is noisy too: 36 · (1 + 1/(G-1)).
    assert luck(leave_one_out, 8) == (exactly(0), exactly(36 * 8 / 7))
    # Z-scores have the variance (G-1)/G in every group that is not all the same.
    same = 0.9**8 + 0.1**8
    assert luck(group_relative(epsilon=0.0), 8) == (exactly(0), exactly(7 / 8 * (1 - same)))


def test_a_whitened_batch_takes_the_mean_and_leaves_the_luck():
    same = 0.9**8 + 0.1**8
    assert luck(whitened(reward_to_go(), epsilon=0.0), 8) == (exactly(0), exactly(1 - same))


def test_only_advantages_of_each_token_take_the_luck():
    assert luck(td_error, 1) == (exactly(0), exactly(0))
    assert luck(gae(lam=0.0), 1) == (exactly(0), exactly(0))
    # With λ > 0 the city's surprise leaks back: 36 λ^(2k), k decisions before it.
    leaked = [36 * 0.95 ** (2 * k) for k in (5, 4, 3, 2, 1)]
    assert luck(gae(lam=0.95), 1) == (exactly(0), pytest.approx(leaked, abs=1e-9))


def test_the_city_earns_its_true_advantage():
    assert pytest.approx({"Paris": 2, "Lyon": -18, "Marseille": -18}) == TRUE_ADVANTAGE
    assert city_credit(td_error, 1) == pytest.approx(TRUE_ADVANTAGE)
    assert city_credit(leave_one_out, 4) == pytest.approx(TRUE_ADVANTAGE)
