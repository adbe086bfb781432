"""PETSc's binary format, byte by byte, and madupite's convention on top of it."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.mdp.build import from_dense
from logpi.worlds.mdp.files.absorbing import absorbing, closed
from logpi.worlds.mdp.files.petsc import load_petsc, read_matrix, save_petsc, write_matrix

# The matrix [[0, .5, .5], [1, 0, 0]]: class, rows, columns, non-zeros; row lengths; columns; values
SPARSE = bytes.fromhex(
    "00127b50 00000002 00000003 00000003"
    "00000002 00000001"
    "00000001 00000002 00000000"
    "3fe0000000000000 3fe0000000000000 3ff0000000000000"
)
# The same with 64-bit integers
WIDE = bytes.fromhex(
    "0000000000127b50 0000000000000002 0000000000000003 0000000000000003"
    "0000000000000002 0000000000000001"
    "0000000000000001 0000000000000002 0000000000000000"
    "3fe0000000000000 3fe0000000000000 3ff0000000000000"
)
# The dense matrix [[1, 2]], whose count of non-zeros is -1, and the vector [1, 2]
DENSE = bytes.fromhex("00127b50 00000001 00000002 ffffffff 3ff0000000000000 4000000000000000")
VECTOR = bytes.fromhex("00127b4e 00000002 3ff0000000000000 4000000000000000")


def random_model(seed):
    rng = np.random.default_rng(seed)
    states, actions = rng.integers(1, 7), rng.integers(1, 4)
    p = rng.dirichlet(np.full(states, 0.5), size=(states, actions))
    allowed = rng.random((states, actions)) < 0.8
    return from_dense(p, rng.normal(size=(states, actions)), 0.9, order="sas", allowed=allowed)


def iterate(m):
    """v₅₀ of value iteration: equal Bellman operators have equal iterates."""
    v = np.zeros(m.states)
    for _ in range(50):
        q = m.reward + m.discount * (m.transitions @ v).reshape(m.states, m.actions)
        v = np.where(m.terminal, 0, np.where(m.allowed, q, -np.inf).max(1, initial=-1e9))
    return v


def test_a_model_of_float32_comes_back(tmp_path):
    m = random_model(3).astype(np.float32)
    save_petsc(m, tmp_path / "m.bin")
    assert_allclose(iterate(load_petsc(tmp_path / "m.bin", discount=0.9)), iterate(m), rtol=1e-5)


@pytest.mark.parametrize("content", [SPARSE, WIDE])
def test_a_matrix_by_hand_is_read_and_written(content):
    matrix = read_matrix(BytesIO(content))
    assert_array_equal(matrix.toarray(), [[0, 0.5, 0.5], [1, 0, 0]])
    assert matrix.data.dtype == np.dtype("f8")
    file = BytesIO()
    write_matrix(file, matrix, 32 if content is SPARSE else 64)
    assert file.getvalue() == content


def test_a_dense_matrix_and_a_vector_by_hand_are_read():
    assert_array_equal(read_matrix(BytesIO(DENSE)), [[1, 2]])
    assert_array_equal(read_matrix(BytesIO(VECTOR)), [1, 2])


def test_what_madupite_writes_is_read(tmp_path):
    # its writePETScBinary drops the zeros of the stage costs, as csr_array does
    with open(tmp_path / "P.bin", "wb") as file:
        write_matrix(file, csr_array([[0, 1.0], [0.5, 0.5], [0, 1], [1, 0]]))
    with open(tmp_path / "P_g.bin", "wb") as file:
        write_matrix(file, csr_array([[0, 3.0], [0, -1.0]]))
    m = load_petsc(tmp_path / "P.bin", discount=0.9)
    assert_array_equal(m.reward, [[0, -3], [0, 1]])
    assert not np.signbit(m.reward[0, 0])
    assert_array_equal(m.transitions.toarray()[1], [0.5, 0.5])
    assert m.name == "P.bin"
    assert_array_equal(load_petsc(tmp_path / "P.bin", discount=0.9, cost=False).reward[0], [0, 3])


def test_stage_costs_may_be_dense_or_a_vector_and_lie_anywhere(tmp_path):
    with open(tmp_path / "P.bin", "wb") as file:
        write_matrix(file, csr_array([[1.0], [1.0]]))
    for content in (DENSE, VECTOR):
        (tmp_path / "costs").write_bytes(content)
        m = load_petsc(tmp_path / "P.bin", discount=0.9, stage=tmp_path / "costs")
        assert_array_equal(m.reward, [[-1, -2]])


@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([32, 64]))
def test_a_model_comes_back_with_the_same_optimum(tmp_path_factory, seed, cost, bits):
    m = random_model(seed)
    path = tmp_path_factory.mktemp("petsc") / "P.bin"
    save_petsc(m, path, cost=cost, bits=bits)
    again = load_petsc(path, discount=0.9, cost=cost)
    assert_array_equal(again.reward[m.allowed], m.reward[m.allowed])
    assert_array_equal(again.terminal, m.terminal)
    rows = m.allowed.ravel()
    assert_array_equal(again.transitions.toarray()[rows], m.transitions.toarray()[rows])
    assert_allclose(iterate(again), iterate(m), atol=1e-9)


def test_what_is_not_allowed_repeats_what_is():
    p = np.array([[[0, 1], [1, 0]], [[1, 0], [1, 0]]])
    allowed = [[False, True], [False, False]]
    t, reward = closed(from_dense(p, [[5, 6], [7, 8]], 0.9, order="sas", allowed=allowed))
    assert_array_equal(t.toarray(), [[1, 0], [1, 0], [0, 1], [0, 1]])
    assert_array_equal(reward, [[6, 6], [0, 0]])
    assert_array_equal(absorbing(t, reward.ravel(), np.repeat([0, 1], 2), 2), [False, True])


def test_a_loop_that_earns_is_no_end():
    loop = csr_array(np.ones((2, 1)))
    assert absorbing(loop, np.zeros(2), np.zeros(2, int), 1).all()
    assert not absorbing(loop, np.array([0.0, 1]), np.zeros(2, int), 1).any()


# -- damaged files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [SPARSE, WIDE, DENSE, VECTOR])
def test_every_truncation_is_named(content):
    for end in range(len(content)):
        with pytest.raises(ModelError, match=r"truncated|no PETSc binary file"):
            read_matrix(BytesIO(content[:end]))
    with pytest.raises(ModelError, match="the file is longer"):
        read_matrix(BytesIO(content + b"\x00"))


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("name", ["P.bin", "P_g.bin"])
def test_every_flipped_bit_of_a_header_is_named(tmp_path, bits, name):
    p = [[[0, 1], [0.5, 0.5], [1, 0]], [[1, 0], [1, 0], [0, 1]]]
    save_petsc(from_dense(p, np.ones((2, 3)), 0.9), tmp_path / "P.bin", bits=bits)
    content = (tmp_path / name).read_bytes()
    for bit in range(4 * bits):  # class, rows, columns, non-zeros
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << (bit % 8)
        (tmp_path / name).write_bytes(flipped)
        with pytest.raises(ModelError, match=name):
            load_petsc(tmp_path / "P.bin", discount=0.9)


def test_a_column_beyond_the_matrix_is_named():
    with pytest.raises(ModelError, match="columns 0 to 2, but its header says 2 columns"):
        read_matrix(BytesIO(SPARSE[:11] + b"\x02" + SPARSE[12:]))


def test_files_of_another_kind_are_named(tmp_path):
    with pytest.raises(ModelError, match="little-endian"):
        read_matrix(BytesIO(np.array([1211216, 1, 1, 0, 0], dtype="<i4").tobytes()))
    with pytest.raises(ModelError, match="no PETSc binary file"):
        read_matrix(BytesIO(b"PK\x03\x04 and so on"))
    path = tmp_path / "P.bin"
    path.write_bytes(VECTOR)
    with pytest.raises(ModelError, match=r"P.bin: this is a PETSc vector, but transitions are a m"):
        load_petsc(path, discount=0.9)
    path.write_bytes(SPARSE)
    with pytest.raises(ModelError, match=r"P.bin: the matrix is \[2, 3\], but must be"):
        load_petsc(path, discount=0.9)
    with open(path, "wb") as file:
        write_matrix(file, csr_array([[1.0], [1.0]]))
    with pytest.raises(ModelError, match=r"P_g.bin cannot be read: No such file"):
        load_petsc(path, discount=0.9)
    (tmp_path / "P_g.bin").write_bytes(SPARSE)
    with pytest.raises(ModelError, match=r"P_g.bin: the stage costs are \[2, 3\]"):
        load_petsc(path, discount=0.9)


def test_probabilities_are_checked_and_bits_too(tmp_path):
    path = tmp_path / "P.bin"
    with open(path, "wb") as file:
        write_matrix(file, csr_array([[0.5], [1.0]]))
    (tmp_path / "P_g.bin").write_bytes(DENSE)
    with pytest.raises(ModelError, match=r"P.bin: state 0, action 0: its 1 .* sum to 0.5"):
        load_petsc(path, discount=0.9)
    with pytest.raises(ConfigError, match="bits is 16"):
        save_petsc(random_model(0), tmp_path / "x.bin", bits=16)
