"""AdamW, and its state as a flat mapping of named tensors, for files that hold no pickle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import Parameter

from logpi.core.errors import ConfigError, RunError
from logpi.train.config import OptimConfig
from logpi.train.flat import FlatAdamW, may_be_flat

__all__ = [
    "load_optimizer",
    "make_optimizer",
    "optimizer_tensors",
    "parameters_of",
    "set_learning_rate",
]

_STATE = ("step", "exp_avg", "exp_avg_sq")
_FUSED = ("cpu", "cuda", "mps", "xpu")


def make_optimizer(
    named_parameters: Iterable[tuple[str, Parameter]],
    optim: OptimConfig,
    *,
    lr: float | None = None,
) -> torch.optim.AdamW:
    """AdamW over the parameters that need a gradient, fused into one kernel where there is one.

    Decoupled weight decay (arXiv 1711.05101) acts on every parameter alike, biases and norms
    included: plain AdamW, nothing grouped by name. Raises `ConfigError` where there is nothing to
    train.

    >>> layer = torch.nn.Linear(2, 1)
    >>> make_optimizer(layer.named_parameters(), OptimConfig(lr=0.1)).param_groups[0]["lr"]
    0.1
    """
    named = [(name, parameter) for name, parameter in named_parameters if parameter.requires_grad]
    if not named:
        raise ConfigError("there is nothing to train: no parameter of the policy needs a gradient.")
    rate = lr if lr is not None else optim.lr or 0.0
    how = {"betas": optim.betas, "eps": optim.eps, "weight_decay": optim.weight_decay}
    if may_be_flat([p for _, p in named]):
        return FlatAdamW(named, lr=rate, fused=True, **how)
    fused = all(p.device.type in _FUSED and p.is_floating_point() for _, p in named)
    return torch.optim.AdamW(named, lr=rate, fused=fused, **how)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Nothing; every parameter group now has this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def optimizer_tensors(optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """The optimizer's state by name: `exp_avg/NAME`, `exp_avg_sq/NAME` and `step/NAME`.

    Parameters that never had a gradient have no state and are left out. The learning rate is not
    state: it is a function of the iteration.
    """
    return {
        f"{key}/{name}": state[key]
        for name, parameter in parameters_of(optimizer)
        if (state := optimizer.state.get(parameter))
        for key in _STATE
    }


def load_optimizer(optimizer: torch.optim.AdamW, tensors: Mapping[str, Tensor]) -> None:
    """Nothing; the optimizer goes on from this state, bit for bit.

    Raises `RunError` where the tensors belong to other parameters than the optimizer's.
    """
    named = dict(parameters_of(optimizer))
    _check(named, tensors)
    optimizer.state.clear()
    for name, parameter in named.items():
        if f"step/{name}" not in tensors:
            continue
        # A fused kernel reads its step counters on the parameters' device.
        optimizer.state[parameter] = {
            key: tensors[f"{key}/{name}"].to(parameter.device, copy=True) for key in _STATE
        }


def parameters_of(optimizer: torch.optim.Optimizer) -> list[tuple[str, Parameter]]:
    """What the optimizer moves, by name.

    >>> layer = torch.nn.Linear(2, 1)
    >>> moved = make_optimizer(layer.named_parameters(), OptimConfig(lr=0.1))
    >>> [name for name, _ in parameters_of(moved)]
    ['weight', 'bias']
    """
    return [
        pair
        for group in optimizer.param_groups
        for pair in zip(group["param_names"], group["params"], strict=True)
    ]


def _check(named: Mapping[str, Parameter], tensors: Mapping[str, Tensor]) -> None:
    for key, tensor in tensors.items():
        kind, _, name = key.partition("/")
        if kind not in _STATE or name not in named:
            raise RunError(
                f"the stored optimizer state holds `{key}`, which the policy does not have. The "
                "checkpoint belongs to another model, or to other trained parameters."
            )
        if kind != "step" and tensor.shape != named[name].shape:
            raise RunError(
                f"the stored optimizer state `{key}` is {list(tensor.shape)} but the parameter is "
                f"{list(named[name].shape)}. The checkpoint belongs to another model."
            )
        missing = [f"{other}/{name}" for other in _STATE if f"{other}/{name}" not in tensors]
        if missing:
            raise RunError(f"the stored optimizer state has `{key}` but lacks `{missing[0]}`.")
