"""Linear systems (I − M) x = b with M ≥ 0 sparse: dense, Krylov, or sparse LU, as size allows."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.linalg import LinAlgError, LinAlgWarning, lu_factor, lu_solve
from scipy.sparse import csc_array, csr_array, eye_array
from scipy.sparse.linalg import MatrixRankWarning, bicgstab, gmres, splu

from logpi.core.errors import ModelError

__all__ = ["DENSE", "solve_identity_minus"]

DENSE = 600
"""Up to so many states a dense factorisation is the fastest and the surest."""

SHARP, SOUND = 2e-15, 1e-13
"""Residuals relative to |b| + |x|: the best to ask of float64, and the worst to accept."""


def solve_identity_minus(
    matrix: csr_array,
    b: Float[ndarray, " S"],
    *,
    x: Float[ndarray, " S"] | None = None,
    enough: float = 0.0,
) -> Float[ndarray, " S"]:
    """x = (I − M)⁻¹ b to a relative residual near 1e-15, or to one of at most `enough`.

    Dense LU up to `DENSE` states; else BiCGStab and GMRES with a diagonal preconditioner, restarted
    on the residual and kept only where they lower it; else sparse LU with refinement. `x` is where
    the iterations begin.

    Raises `ModelError` where I − M is singular, as it is for a recurrent chain with discount 1.

    >>> solve_identity_minus(csr_array(np.array([[0.0, 0.9], [0.0, 0.9]])), np.array([0.0, 1.0]))
    array([ 9., 10.])
    """
    states = len(b)
    if states <= DENSE:
        return _dense(np.eye(states) - matrix.toarray(), b)
    system = csr_array(eye_array(states, format="csr") - matrix)
    found, good = _krylov(system, b, np.zeros(states) if x is None else x, enough)
    return found if good else _sparse(system, b)


def _dense(system: Float[ndarray, "S S"], b: Float[ndarray, " S"]) -> Float[ndarray, " S"]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", LinAlgWarning)
        try:
            factor = lu_factor(system)
            x = lu_solve(factor, b)
            return x + lu_solve(factor, b - system @ x)  # one step of refinement
        except (LinAlgWarning, LinAlgError, ValueError) as error:
            raise _singular() from error


def _krylov(
    system: csr_array, b: Float[ndarray, " S"], x: Float[ndarray, " S"], enough: float
) -> tuple[Float[ndarray, " S"], bool]:
    """The best x that a few restarts find, never worse than where it began; whether it is good."""
    scale = np.where((diagonal := system.diagonal()) > 0, diagonal, 1)
    left = csr_array(system.multiply(1 / scale[:, None]))  # self-loops are solved for, exactly
    residual = b - system @ x
    rtol = 1e-3 if enough else 1e-8
    for method in (bicgstab, bicgstab, bicgstab, gmres):
        if _scaled(b, x, residual, enough) <= SHARP:
            break
        options = {"restart": 30, "maxiter": 20} if method is gmres else {"maxiter": 300}
        with np.errstate(all="ignore"):  # a breakdown gives a NaN, which is then not kept
            step, _ = method(left, residual / scale, rtol=rtol, atol=0.0, **options)
            trial = b - system @ (x + step)
        if np.abs(trial).max() < np.abs(residual).max():  # False for a NaN
            x, residual = x + step, trial
    return x, _scaled(b, x, residual, enough) <= SOUND


def _scaled(
    b: Float[ndarray, " S"], x: Float[ndarray, " S"], residual: Float[ndarray, " S"], enough: float
) -> float:
    """The residual relative to |b| + |x|; 0 where it is `enough`."""
    largest = float(np.abs(residual).max())
    return 0.0 if largest <= enough else largest / float(np.abs(b).max() + np.abs(x).max())


def _sparse(system: csr_array, b: Float[ndarray, " S"]) -> Float[ndarray, " S"]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", MatrixRankWarning)
        try:
            factor = splu(csc_array(system))
        except (RuntimeError, MatrixRankWarning) as error:
            raise _singular() from error
    x = factor.solve(b)
    return x + factor.solve(b - system @ x)


def _singular() -> ModelError:
    return ModelError(
        "the linear system of the policy's value is singular: with a discount this close to 1 some "
        "state returns to itself for ever. Lower the discount, or make the states terminal."
    )
