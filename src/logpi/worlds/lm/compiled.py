"""A model's layers, compiled by torch for the passes that train."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from logpi.core.errors import ConfigError
from logpi.worlds.lm import attention

__all__ = ["CompiledLayers", "check_compiler"]


def check_compiler() -> None:
    """Nothing, where torch can compile.

    Raises `ConfigError` where it cannot, which is mostly for want of a C++ compiler.
    """
    try:
        torch.compile(torch.neg)(torch.ones(2))
    except Exception as error:  # whatever the compiler's many parts raise
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"world.compile is true, but torch compiles nothing here: {reason} Install a C++ "
            "compiler that torch finds (g++ or clang++, or name it in CXX), or leave compile out."
        ) from error


class CompiledLayers:
    """The decoder layers of a model, compiled; their attention is not.

    What lies between two matrix products, norms, rotations and gates, becomes one pass over memory.
    Lengths are symbols: a batch of another length compiles nothing anew. The first pass takes as
    long as the compiler does.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Nothing is compiled before the first pass."""
        attention.keep_out_of_graphs()
        self._layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
        self._forwards = [torch.compile(layer.forward, dynamic=True) for layer in self._layers]

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """The model runs its compiled layers while the context lasts."""
        for layer, forward in zip(self._layers, self._forwards, strict=True):
            layer.forward = forward
        try:
            yield
        finally:
            for layer in self._layers:
                del layer.forward
