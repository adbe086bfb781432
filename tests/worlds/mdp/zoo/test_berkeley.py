"""The gridworlds of CS188, and what is said of grids that are none."""

import numpy as np
import pytest

from logpi.core.errors import ConfigError
from logpi.worlds.mdp.planning.solve import solve
from logpi.worlds.mdp.zoo import make


def test_the_exit_pays_a_step_after_the_cell_is_reached():
    m = make("berkeley_grid", grid=[["S", 5]], noise=0.0, discount=0.5, r_living=-1.0)
    assert solve(m).value.tolist() == [1.5, 5, 0]
    assert m.layout.actions == ("up", "right", "down", "left", "exit")
    assert m.allowed.sum(1).tolist() == [4, 1, 0]


def test_walls_bounce_and_noise_turns():
    m = make("berkeley_grid", grid="S # 1 / . . .", noise=0.4)
    moved = dict(zip(*m.row(0, 1), strict=True))
    assert np.isclose(moved[0], 0.8)  # into the wall, or up and off the grid
    assert np.isclose(moved[3], 0.2)
    assert m.terminal.tolist() == [False, True, False, False, False, False, True]
    assert m.start.tolist() == [1, 0, 0, 0, 0, 0, 0]


def test_without_a_start_every_free_cell_is_one():
    assert make("berkeley_grid", grid=". . 1").start.tolist() == [0.5, 0.5, 0, 0]
    assert make("berkeley_grid", grid="# 1").start.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        ("brigde", "Did you mean `bridge`"),
        ("S . 1 / .", "rows of one length"),
        ("S .", "no exit"),
        ([["S", "x"]], "cell 'x'"),
        ([["S", float("nan")]], "cell 'nan'"),
    ],
)
def test_what_is_no_grid(grid, says):
    with pytest.raises(ConfigError, match=says) as raised:
        make("berkeley_grid", grid=grid)
    assert not str(raised.value).endswith("..")


def test_every_grid_of_the_course_is_solved():
    best = {"book": 0.49, "bridge": -17.28, "cliff": 4.37, "discount": 2.93, "maze": 0.29}
    for name, value in best.items():
        m = make("berkeley_grid", grid=name)
        assert np.isclose(m.start @ solve(m).value, value, atol=0.005)
