"""Spaces: what is read, and what is refused by name."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from logpi.core.errors import ConfigError
from logpi.worlds.gym.spaces import Reader, actions_of, mask_row, observations_of

READ = [
    spaces.Box(-1, 1, (3, 2)),
    spaces.Box(0, 9, (4,), dtype=np.int64),
    spaces.Discrete(5, start=2),
    spaces.MultiDiscrete([2, 3]),
    spaces.MultiBinary(4),
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


def test_images_stay_images():
    found = observations_of(spaces.Box(0, 255, (84, 84, 3), dtype=np.uint8))
    assert found.image
    assert found.shape == (84, 84, 3)
    assert not observations_of(spaces.Box(0, 255, (128,), dtype=np.uint8)).image


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
    rows, seen = reader.empty(), [space.sample() for _ in range(3)]
    for i, x in enumerate(seen):
        assert reader.wrong(x) == ""
        rows[i] = x
    empty = gymnasium.vector.utils.create_empty_array(space, 3)
    batch = gymnasium.vector.utils.concatenate(space, seen, empty)
    wanted = observations_of(space).flatten(batch, 3)
    assert np.array_equal(reader.flat(rows), wanted)
    assert reader.flat(rows).dtype == wanted.dtype
    assert np.array_equal(reader.one(seen[1]), wanted[1])


def test_masks_are_rows_or_say_what_is_wrong():
    two = actions_of(spaces.MultiDiscrete([2, 3]))
    assert mask_row((np.array([1, 0]), np.array([0, 0, 1])), two).tolist() == [1, 0, 0, 0, 1]
    assert "allows nothing" in mask_row((np.array([1, 1]), np.array([0, 0, 0])), two)
    assert "2 entries instead of 5" in mask_row(np.ones(2), two)
    assert "no action mask" in mask_row(None, two)
    assert "its actions are box" in mask_row(np.ones(2), actions_of(spaces.Box(0, 1, (2,))))
