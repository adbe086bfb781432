"""Storm's DRN: files by hand, round trips, and the line where a file goes wrong."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from logpi.core.errors import ModelError
from logpi.worlds.mdp.build import from_dense
from logpi.worlds.mdp.files.drn import load_drn, save_drn
from logpi.worlds.mdp.files.drn_text import read_text
from logpi.worlds.mdp.model import Layout
from logpi.worlds.mdp.planning import solve

# As Storm exports a model with two reward models, labels, comments and choice labels
BY_HAND = """\
// Exported by storm
// Original model type: MDP
@type: MDP
@value_type: double
@parameters

@reward_models
steps cost 
@nr_states
4
@nr_choices
6
@model
state 0 [0, 10] init
//[x=0]
\taction safe [1, 2]
\t\t1 : 1
\taction risky [1, 0]
\t\t0 : 0.25
\t\t2 : 0.5
\t\t3 : 0.25
state 1 [0, 0] "half way"
\taction safe [1, 2]
\t\t0 : 0.5
\t\t3 : 0.5
\taction back [1, 3]
\t\t0 : 1
state 2 [0, 0] deadlock
\taction safe [0, 0]
\t\t2 : 1
state 3 [0, 0] target goal
\taction safe [1, 0]
\t\t0 : 1
"""

# Exported by stormpy 2.0 from a model in PRISM's language; in state 0, thirds have ten digits
EXPORTED = """\
// Exported by storm
// Original model type: MDP
@type: MDP
@value_type: double
@parameters

@reward_models
time\x20
@nr_states
5
@nr_choices
6
@model
state 0 [1] init
\taction 0 [0.5]
\t\t1 : 0.5
\t\t2 : 0.5
\taction 1 [0]
\t\t1 : 0.6666666667
\t\t3 : 0.3333333333
state 1 [1]
\taction 0 [0]
\t\t0 : 0.9
\t\t4 : 0.1
state 2 [1]
\taction 0 [0]
\t\t4 : 1
state 3 [0]
\taction 0 [0]
\t\t3 : 1
state 4 [0] done
\taction 0 [0]
\t\t4 : 1
"""

SMALL = "@type: MDP\n@reward_models\n{models}\n@nr_states\n{states}\n@model\n{body}"


def small(body, states=1, models=""):
    return SMALL.format(models=models, states=states, body=body)


@pytest.fixture
def load_text(tmp_path):
    def read(text, **options):
        path = tmp_path / "m.drn"
        path.write_text(text)
        return load_drn(path, discount=0.9, **options)

    return read


def test_a_file_by_hand_is_read(load_text):
    m = load_text(BY_HAND, reward="cost", target="target")
    assert m.layout.actions == ("safe", "risky", "back")
    assert_array_equal(m.allowed, [[1, 1, 0], [1, 0, 1], [0, 0, 0], [0, 0, 0]])
    assert_array_equal(m.reward[:2], [[12, 10, 0], [2, 0, 3]])
    assert_array_equal(m.transitions.toarray()[1], [0.25, 0, 0.5, 0.25])
    assert_array_equal(m.row(1, 2)[0], [0])
    assert m.layout.marks == {"half way": (1,), "target": (3,), "goal": (3,)}
    assert_array_equal(m.start, [1, 0, 0, 0])
    assert (m.name, m.discount) == ("m", 0.9)


def test_without_a_target_only_a_free_loop_ends(load_text):
    m = load_text(BY_HAND, reward="steps")
    assert_array_equal(m.terminal, [False, False, True, False])
    assert_array_equal(m.reward[0], [1, 1, 0])
    m = load_text(BY_HAND, reward="steps", terminal=[], name="own", start=1)
    assert not m.terminal.any()
    assert (m.name, m.start[1]) == ("own", 1)


def test_several_reward_models_need_a_choice(load_text):
    with pytest.raises(ModelError, match=r"m.drn: the file has the reward models steps, cost"):
        load_text(BY_HAND)
    with pytest.raises(ModelError, match="choose one with `reward=`, not 'costs'"):
        load_text(BY_HAND, reward="costs")
    with pytest.raises(ModelError, match="no state has the label 'end'; there are init, half way"):
        load_text(BY_HAND, reward="cost", target=["end"])


def test_windows_lines_spaces_and_a_missing_last_newline_are_read(load_text):
    text = BY_HAND.replace("\n", "\r\n").replace("\t", "    ").rstrip()
    a, b = load_text(text, reward="cost"), load_text(BY_HAND, reward="cost")
    assert_array_equal(a.transitions.toarray(), b.transitions.toarray())
    assert_array_equal(a.reward, b.reward)
    assert a.layout == b.layout


def test_fractions_placeholders_and_few_digits_are_read(load_text):
    body = """state 0 init
\taction 0 [1/4]
\t\t0 : 1/3
\t\t1 : $0
state 1 [$1]
\taction 0
\t\t0 : 0.333333
\t\t1 : 0.666666
"""
    header = "@placeholders\n$0 : 2/3\n$1 : 7\n@model"
    m = load_text(small(body, 2, "r").replace("@model", header))
    assert_allclose(m.transitions.data, [1 / 3, 2 / 3, 1 / 3, 2 / 3], atol=1e-6)
    assert_allclose(m.transitions.toarray().sum(1), 1, atol=1e-15)
    assert_array_equal(m.reward, [[0.25], [7]])


def test_a_markov_chain_has_one_action(load_text):
    text = small("state 0 init\n\taction 0\n\t\t1 : 1\nstate 1\n\taction 0\n\t\t1 : 1\n", 2)
    m = load_text(text.replace("MDP", "DTMC"))
    assert (m.states, m.actions) == (2, 1)
    assert_array_equal(m.terminal, [False, True])


def test_a_state_without_actions_is_terminal(load_text):
    m = load_text(small("state 0 init\n\taction 0\n\t\t1 : 1\nstate 1 deadlock\n", 2))
    assert_array_equal(m.terminal, [False, True])


def test_numbered_actions_keep_their_numbers_and_repeated_names_their_places(load_text):
    body = "state 0 init\n\taction {}\n\t\t0 : 1\n\taction {}\n\t\t1 : 1\nstate 1\n"
    assert_array_equal(load_text(small(body.format(1, 3), 2)).allowed[0], [0, 1, 0, 1])
    m = load_text(small(body.format("tau", "tau"), 2))
    assert_array_equal(m.allowed[0], [True, True])
    assert m.layout.actions == ()
    assert load_text(small(body.format(0, 10**15), 2)).actions == 2  # not 10¹⁵ columns
    assert_array_equal(load_text(small(body.format(1, 0), 2)).row(0, 0)[0], [1])


def test_names_that_are_all_new_do_not_make_the_table_wide(load_text):
    body = "".join(f"state {s}\n\taction a{s}\n\t\t{(s + 1) % 50} : 1\n" for s in range(50))
    assert load_text(small(body, 50)).actions == 1


def random_model(seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    states, actions = rng.integers(1, 7), rng.integers(1, 4)
    p = rng.dirichlet(np.full(states, 0.5), size=(states, actions))
    p = np.where(p < 0.05, 0, p)
    p = (p / p.sum(2, keepdims=True)).astype(dtype)
    allowed = rng.random((states, actions)) < 0.8
    allowed[0, actions - 1] = True
    marks = {"target": (0,), "two words": (0, int(states) - 1)}
    return from_dense(
        p,
        rng.normal(size=(states, actions)),
        0.9,
        order="sas",
        allowed=allowed,
        start=int(rng.integers(states)) if rng.random() < 0.5 else None,
        layout=Layout(marks=marks),
    )


@given(st.integers(0, 10_000), st.sampled_from([1 << 24, 64]))
def test_a_model_comes_back(tmp_path_factory, seed, chunk):
    m = random_model(seed)
    path = tmp_path_factory.mktemp("drn") / "m.drn"
    save_drn(m, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("logpi.worlds.mdp.files.drn_text.CHUNK", chunk)
        again = load_drn(path, discount=0.9)
    assert_array_equal(again.terminal, m.terminal)
    A = again.actions  # the last actions may be allowed nowhere
    assert_array_equal(again.allowed, m.allowed[:, :A])
    assert not m.allowed[:, A:].any()
    assert_array_equal(again.reward[again.allowed], m.reward[m.allowed])
    p = m.transitions.toarray()[m.allowed.ravel()]
    assert_array_equal(again.transitions.toarray()[again.allowed.ravel()], p)
    assert_allclose(again.start, m.start, atol=1e-15)
    assert again.layout.marks == m.layout.marks


def test_float32_is_written_in_its_own_digits(tmp_path):
    p = np.array([[[0.1, 0.9]], [[1, 0]]], dtype=np.float32)
    save_drn(from_dense(p, [0.3, 0], 0.9, start=0), tmp_path / "m.drn")
    text = (tmp_path / "m.drn").read_text()
    assert "\taction 0 [0.3]\n\t\t0 : 0.1\n\t\t1 : 0.9\n" in text
    assert_array_equal(load_drn(tmp_path / "m.drn", discount=0.9).transitions.data, [0.1, 0.9, 1])


def test_a_mark_that_cannot_be_a_label_is_named(tmp_path):
    m = from_dense([[[1.0]]], [1.0], 0.9, layout=Layout(marks={'"': (0,)}))
    with pytest.raises(ModelError, match="cannot be a label in DRN"):
        save_drn(m, tmp_path / "m.drn")


# -- what is wrong ---------------------------------------------------------------------------------

GOOD = "state 0 init\n\taction 0\n\t\t0 : 1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (small("state 1\n"), "line 7: expected `state 0`, not 'state 1'"),
        (small("stat 0\n"), "line 7: expected `state 0`, not 'stat 0'"),
        (small(GOOD + "\tacton 1\n\t\t0 : 1\n"), "line 10: expected `action NAME`, not 'acton 1'"),
        (small(GOOD + "\t\t0 ; 1\n"), "line 10: expected `successor : probability`, not '0 ; 1'"),
        (small(GOOD + "\t\t0 : 1 2\n"), "line 10: '1 2' is no number"),
        (small(GOOD + "\t\t0.5 : 1\n"), "line 10: expected `successor : probability`"),
        (small(GOOD + "\t\t0 : x\n"), "line 10: 'x' is no number"),
        (small(GOOD + "\t\t0 : 1/0\n"), "line 10: '1/0' is no number"),
        (small(GOOD + "\t\t0 : $3\n"), "line 10: '\\$3' is no number"),
        (small(GOOD + "\t\t0 : [0.1, 0.2]\n"), "line 10: .* intervals are not read"),
        (small(GOOD + "?\n"), r"line 10: '\?' is no state, action or transition"),
        (small("state 0 [1\n\taction 0\n\t\t0 : 1\n"), "line 7: expected rewards in brackets"),
        (small("state 0\n\taction 0 [x]\n\t\t0 : 1\n", 1, "r"), "line 8: 'x' is no number"),
        (small("\taction 0\n\t\t0 : 1\n"), "line 7: an action comes before any state"),
        (small("\t\t0 : 1\n" + GOOD), "before line 8: a transition belongs to no action"),
        (small("state 0\n\t\t0 : 1\n\taction 0\n"), "before line 9: a transition belongs to no"),
        (small("state 0\n\t\t0 : 1\n"), "the transitions at the end belong to no action"),
        (small("state 0\n"), "no state has an action"),
        (small(""), "holds 0 states, but its header says 1: it is truncated"),
        (small(GOOD, 2), "holds 1 states, but its header says 2: it is truncated"),
        (small(GOOD + "state 1\n"), "holds 2 states, but its header says 1: one of them is wrong"),
        (small(GOOD).replace("@model", "@nr_choices\n2\n@model"), "1 choices, but .* says 2"),
        (small(GOOD + "\t\t0 : 0.5\n"), "state 0, action 0: its 2 probabilities sum to 1.5"),
        (small(GOOD + "\t\t9 : 0.5\n"), "state 0, action 0: its successor 9 is no state"),
        (small(GOOD + f"\t\t{2**40} : 0.5\n"), "state 0, action 0: its successor .* is no state"),
        (small("state 0\n\taction 0\n"), "state 0, action 0: it has no successors"),
        (small("state 0 [nan]\n\taction 0\n\t\t0 : 1\n"), "state 0, action 0: the reward is nan"),
        (small(GOOD).replace("MDP", "CTMC"), "line 1: the model is a CTMC, but must be an MDP"),
        (small(GOOD).replace("\n1\n", "\none\n"), "line 5: @nr_states is 'one', but must be a n"),
        (small(GOOD).replace("@type: MDP\n", ""), "the header lacks `@type:`"),
        (small(GOOD).replace("@model", "@modle"), "line 6: '@modle' is no part of a DRN header"),
        (small(GOOD).replace("@model", "@parameters\np q\n@model"), "line 7: the model has param"),
        ("@type: MDP\n", "it has no line `@model`"),
        ("", "it has no line `@model`"),
        ("hello\n", "line 1: this is no DRN file: it begins 'hello'"),
    ],
)
def test_the_line_that_is_wrong_is_named(load_text, text, message):
    with pytest.raises(ModelError, match=f"m.drn: .*{message}"):
        load_text(text)


def test_every_truncation_is_named_or_changes_nothing(tmp_path):
    path = tmp_path / "cut.drn"
    path.write_text(BY_HAND)
    whole = load_drn(path, discount=0.9, reward="cost")
    for end in range(len(BY_HAND) - 1):
        path.write_text(BY_HAND[:end])
        with pytest.raises(ModelError, match=r"cut\.drn: "):
            load_drn(path, discount=0.9, reward="cost")
    path.write_text(BY_HAND[:-1])
    again = load_drn(path, discount=0.9, reward="cost")
    assert_array_equal(again.transitions.toarray(), whole.transitions.toarray())


def test_a_flipped_bit_in_the_header_is_named_or_changes_nothing(tmp_path):
    path = tmp_path / "m.drn"
    path.write_text(BY_HAND)
    whole = load_drn(path, discount=0.9, reward="cost")
    content = bytearray(BY_HAND.encode())
    named = 0
    for bit in range(0, 8 * BY_HAND.index("state 0"), 3):
        content[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(content)
        content[bit // 8] ^= 1 << (bit % 8)
        try:
            again = load_drn(path, discount=0.9, reward="cost")
        except ModelError:
            named += 1
        else:
            assert_array_equal(again.transitions.toarray(), whole.transitions.toarray())
            assert_array_equal(again.reward, whole.reward)
    assert named > 170  # the rest are in comments, and in names that do not matter


def test_bytes_that_are_no_text_are_named(tmp_path):
    path = tmp_path / "m.drn"
    for body in (
        b"state 0\n\taction 0\n\t\t0 : \xff\n",
        b"state \xff\n",
        b"state 0\n\taction \xff [0]\n",
    ):
        path.write_bytes(small("").encode() + body)
        with pytest.raises(ModelError, match="is no text: the file is damaged"):
            load_drn(path, discount=0.9)


def test_read_text_reads_plain_and_odd_numbers_alike():
    body = "state 0\n\taction 0 [{}]\n\t\t0 : {}\n"
    plain = read_text(BytesIO(small(body.format(0.5, 1), 1, "r").encode()), None)
    odd = read_text(BytesIO(small(body.format("1/2", "2/2"), 1, "r").encode()), None)
    assert_array_equal(plain.probabilities, odd.probabilities)
    assert plain.row_rewards == odd.row_rewards == [0.5]


def test_an_export_of_storm_has_the_values_that_storm_finds(tmp_path):
    path = tmp_path / "m.drn"
    path.write_text(EXPORTED)
    m = load_drn(path, discount=1.0, target="done")
    # R{"time"}max=? and R{"time"}min=? [F done | s=3], to Storm's precision of 1e-6
    assert_allclose(solve(m).value[0], 4.545454736, rtol=2e-6)
    assert_allclose(-solve(m.having(reward=-m.reward)).value[0], 4.166667585, rtol=2e-6)
    assert m.terminal.tolist() == [False, False, False, True, True]
