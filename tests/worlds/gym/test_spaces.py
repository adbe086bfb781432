"""Spaces: what is read, and what is refused by name."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from logpi.core.errors import ConfigError
from logpi.worlds.gym.policy import GymPolicy
from logpi.worlds.gym.spaces import Reader, actions_of, mask_row, observations_of
from logpi.worlds.gym.vector import ready_actions

SEEN = spaces.Box(-9, 9, (3,))

sides = st.lists(st.integers(1, 3), min_size=1, max_size=2).map(tuple)
sizes = st.lists(st.integers(1, 4), min_size=1, max_size=3)
discrete = st.builds(lambda n, first: spaces.Discrete(n, start=first),
                     st.integers(1, 5), st.integers(-3, 3))  # fmt: skip
several = st.one_of(
    sizes.map(spaces.MultiDiscrete),
    sizes.map(lambda n: spaces.MultiDiscrete(n, start=[2] * len(n))),
    sizes.map(lambda n: spaces.MultiDiscrete([n, n])),
)
bits = sides.map(spaces.MultiBinary)
boxes = st.builds(lambda shape, low, width: spaces.Box(low, low + width, shape),
                  sides, st.integers(-5, 5), st.integers(1, 9))  # fmt: skip
whole = sides.map(lambda shape: spaces.Box(-9, 9, shape, dtype=np.int64))
observed = st.recursive(
    st.one_of(discrete, several, bits, boxes, whole),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
        st.dictionaries(st.sampled_from("abc"), inner, min_size=1).map(spaces.Dict),
    ),
    max_leaves=5,
)
acted = st.one_of(discrete, several, bits, boxes, st.just(spaces.Box(-1, 1, ())))
masked = st.one_of(discrete, several)

READ = [
    spaces.Box(-1, 1, (3, 2)),
    spaces.Box(0, 9, (4,), dtype=np.int64),
    spaces.Discrete(5, start=2),
    spaces.MultiDiscrete([2, 3], start=[1, -1]),
    spaces.MultiDiscrete([[2, 3], [4, 1]]),
    spaces.MultiBinary(4),
    spaces.MultiBinary((2, 2)),
    spaces.Dict(b=spaces.Discrete(3), a=spaces.Box(0, 1, (2,))),
    spaces.Tuple((spaces.Discrete(2), spaces.Dict(x=spaces.MultiBinary(2)))),
]


@pytest.mark.parametrize("space", READ, ids=str)
def test_a_batch_is_flattened_as_gymnasium_flattens_one(space):
    space.seed(0)
    found = observations_of(space)
    one = [space.sample() for _ in range(5)]
    empty = gymnasium.vector.utils.create_empty_array(space, 5)
    batch = gymnasium.vector.utils.concatenate(space, one, empty)
    flat = found.flatten(batch, 5)
    assert flat.shape == (5, *found.shape)
    assert flat.dtype == np.float32
    wanted = [spaces.flatten(space, x) for x in one]
    assert np.allclose(flat, np.array(wanted, dtype=np.float32))


BYTES = [  # shape of the space, where its height, width and channels are
    ((84, 84, 3), (0, 1, 2)),
    ((7, 7, 3), (0, 1, 2)),
    ((40, 84, 12), (0, 1, 2)),
    ((4, 84, 40), (1, 2, 0)),
    ((84, 40), (0, 1)),
    ((4, 84, 40, 3), (1, 2, 0, 3)),
]


@pytest.mark.parametrize(("shape", "axes"), BYTES, ids=str)
def test_images_are_height_width_and_channels(shape, axes):
    space = spaces.Box(0, 255, shape, dtype=np.uint8)
    found, reader = observations_of(space), Reader(space, 2)
    batch = np.random.default_rng(0).integers(256, size=(2, *shape)).astype(np.uint8)
    wanted = np.moveaxis(batch, [1 + a for a in axes], range(1, 1 + len(axes)))
    wanted = wanted.reshape(*wanted.shape[:3], -1)
    assert found.image
    assert found.shape == wanted.shape[1:]
    assert all(reader.wrong(x) == "" for x in batch)
    for seen in (found.flatten(batch, 2), reader.flat(list(batch))):
        assert seen.dtype == np.uint8
        assert np.array_equal(seen, wanted)
    assert np.array_equal(reader.one(batch[1]), wanted[1])


def test_an_image_among_other_parts_is_divided_by_255():
    image, at = spaces.Box(0, 255, (36, 36, 3), np.uint8), spaces.Box(-1, 1, (2,))
    found = observations_of(spaces.Dict(image=image, at=at))
    x = np.random.default_rng(0).integers(256, size=(2, 36, 36, 3)).astype(np.uint8)
    flat = found.flatten({"image": x, "at": np.full((2, 2), 0.5, np.float32)}, 2)
    places = slice(2, None) if flat[0, 0] == 0.5 else slice(-2)
    assert np.allclose(flat[:, places], x.reshape(2, -1) / 255)


@pytest.mark.parametrize("shape", [(128,), (20, 20), (9, 8, 8), (4, 8, 8, 3), (84, 84, 84)])
def test_other_bytes_are_numbers(shape):
    found = observations_of(spaces.Box(0, 255, shape, dtype=np.uint8))
    assert not found.image
    assert found.shape == (np.prod(shape),)


def test_a_policy_acts_on_what_the_environment_shows():
    for space in [*READ, spaces.Box(0, 255, (2, 40, 36), dtype=np.uint8)]:
        space.seed(0)
        policy = GymPolicy(observations_of(space), spaces.Discrete(3))
        assert policy.act(space.sample()) in (0, 1, 2)


class Refined(spaces.Box):
    """A space of one's own."""


def test_spaces_of_ones_own_are_those_that_they_refine():
    assert observations_of(Refined(-1, 1, (3,))).shape == (3,)
    assert actions_of(Refined(-1, 1, (3,))).kind == "box"


def test_actions_know_their_sizes():
    assert actions_of(spaces.Discrete(4, start=1)).first == (1,)
    assert actions_of(spaces.MultiBinary(3)).sizes == (3,)
    box = actions_of(spaces.Box(-2, 2, (2, 1)))
    assert box.sizes == (2,)
    assert box.low.tolist() == [-2, -2]


@pytest.mark.parametrize(
    ("read", "space", "name"),
    [
        (observations_of, spaces.Text(5), "Text"),
        (observations_of, spaces.OneOf((spaces.Discrete(2),)), "OneOf"),
        (observations_of, spaces.Graph(spaces.Discrete(2), None), "Graph"),
        (observations_of, spaces.Sequence(spaces.Discrete(2)), "Sequence"),
        (observations_of, spaces.Dict(a=spaces.Text(3)), "Text"),
        (actions_of, spaces.Dict(a=spaces.Discrete(2)), "Dict"),
        (actions_of, spaces.Box(0, 9, (2,), dtype=np.int64), "Box"),
    ],
)
def test_others_are_refused_by_name(read, space, name):
    with pytest.raises(ConfigError, match=f"is a {name}, which is not supported"):
        read(space)


@pytest.mark.parametrize(
    ("space", "draws", "width", "choices"),
    [
        (spaces.Discrete(4), 1, 1, 4),
        (spaces.MultiDiscrete([2, 5, 3]), 3, 3, 10),
        (spaces.MultiDiscrete([[2, 5], [3, 1]]), 4, 4, 11),
        (spaces.MultiBinary((2, 2)), 4, 4, 4),
        (spaces.Box(-1, 1, (2, 3)), 6, 6, 6),
    ],
    ids=str,
)
def test_actions_know_how_many_numbers_they_are(space, draws, width, choices):
    a = actions_of(space)
    assert (a.draws, a.width, a.choices) == (draws, width, choices)


@pytest.mark.parametrize("space", [*READ, spaces.Box(0, 255, (4, 4, 3), dtype=np.uint8)], ids=str)
def test_a_reader_reads_one_by_one_what_is_read_together(space):
    space.seed(0)
    reader = Reader(space, 3)
    seen = [space.sample() for _ in range(3)]
    assert all(reader.wrong(x) == "" for x in seen)
    empty = gymnasium.vector.utils.create_empty_array(space, 3)
    batch = gymnasium.vector.utils.concatenate(space, seen, empty)
    wanted = observations_of(space).flatten(batch, 3)
    assert np.array_equal(reader.flat(seen), wanted)
    assert reader.flat(seen).dtype == wanted.dtype
    assert np.array_equal(reader.one(seen[1]), wanted[1])


def test_what_shows_nothing_is_refused():
    with pytest.raises(ConfigError, match="shows nothing to decide by"):
        observations_of(spaces.Box(0, 1, (0,)))
    with pytest.raises(ConfigError, match="shows nothing"):
        observations_of(spaces.Dict())


@given(observed, st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_nothing_that_is_observed_is_lost(space, seed, n):
    space.seed(seed)
    found, reader = observations_of(space), Reader(space, n)
    seen = [space.sample() for _ in range(n)]
    flat = reader.flat(seen)
    assert flat.shape == (n, *found.shape)
    assert np.isfinite(flat).all()
    for i, x in enumerate(seen):
        assert np.array_equal(reader.one(x), flat[i])
        same(space, spaces.unflatten(space, flat[i].astype(np.float64)), x)


def same(space, x, y):
    if isinstance(space, spaces.Dict):
        for key, inner in space.spaces.items():
            same(inner, x[key], y[key])
    elif isinstance(space, spaces.Tuple):
        for inner, a, b in zip(space.spaces, x, y, strict=True):
            same(inner, a, b)
    else:
        assert np.array_equal(x, y)


@given(acted, st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_action_is_one_of_the_space(space, seed, squash):
    policy = GymPolicy(SEEN, space, squash=squash and isinstance(space, spaces.Box), seed=seed)
    rng = np.random.default_rng(seed)
    u = np.clip(rng.random((6, policy.actions.draws)), 1e-12, 1 - 1e-12)
    action, logp = policy.sampler()(rng.normal(size=(6, 3)).astype(np.float32) * 9, None, u)
    assert np.isfinite(logp).all()
    for one in ready_actions(policy.to_env(action), 6, policy.actions, space.dtype):
        assert space.contains(np.asarray(one) if space.shape == () else one)


@given(masked, st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_what_a_mask_forbids_is_never_chosen(space, seed):
    rng = np.random.default_rng(seed)
    policy = GymPolicy(SEEN, space, seed=seed)
    with torch.no_grad():
        policy.net.layers[-1].weight *= 300  # some choices are all but certain
    kind, n = policy.actions, 12
    parts = [rng.random((n, k)) < 0.5 for k in kind.sizes]
    for allowed in parts:
        allowed[np.arange(n), rng.integers(allowed.shape[1], size=n)] = True
    told = [tuple(a[i].astype(np.int8) for a in parts) for i in range(n)]
    rows = [mask_row(x if kind.kind != "discrete" else x[0], kind) for x in told]
    mask = np.array(rows)
    assert np.array_equal(mask, np.concatenate(parts, axis=1))
    x = rng.normal(size=(n, 3)).astype(np.float32)
    u = rng.random((n, kind.draws))
    u[:4] = np.array([2.0**-54, 1 - 2.0**-53, 0.5, 1 - 1e-7])[:, None]
    choose = policy.sampler()
    action, logp = choose(x, mask, u)
    for chosen in (action, choose.mode(x, mask)):
        places = chosen.reshape(n, -1) + np.cumsum([0, *kind.sizes[:-1]])
        assert np.take_along_axis(mask, places, 1).all()
    # The probabilities of what is allowed add up to one, and that of the action is the one told.
    logits = policy.net(torch.from_numpy(x)).detach().double().masked_fill(
        ~torch.from_numpy(mask), -torch.inf
    )  # fmt: skip
    wanted = np.zeros(n)
    for z, a in zip(logits.split(kind.sizes, 1), action.reshape(n, -1).T, strict=True):
        wanted += z.log_softmax(1).gather(1, torch.from_numpy(a.copy())[:, None])[:, 0].numpy()
    assert np.allclose(logp, wanted, rtol=1e-4, atol=1e-4)


def test_masks_are_rows_or_say_what_is_wrong():
    two = actions_of(spaces.MultiDiscrete([2, 3]))
    assert mask_row((np.array([1, 0]), np.array([0, 0, 1])), two).tolist() == [1, 0, 0, 0, 1]
    assert "allows nothing" in mask_row((np.array([1, 1]), np.array([0, 0, 0])), two)
    assert "2 entries instead of 5" in mask_row(np.ones(2), two)
    assert "no action mask" in mask_row(None, two)
    assert "its actions are box" in mask_row(np.ones(2), actions_of(spaces.Box(0, 1, (2,))))
