"""A net of one's own, given from Python: what can be trained exactly, and what cannot."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.modules.batchnorm import _NormBase  # pyright: ignore[reportPrivateUsage] # the common base of batch and instance norms
from torch.nn.modules.dropout import _DropoutNd  # pyright: ignore[reportPrivateUsage] # of all dropouts

from logpi.core.errors import ConfigError

__all__ = ["own_net"]


def own_net(net: nn.Module) -> nn.Module:
    """A copy of the net, so that what was given keeps its weights.

    Raises `ConfigError` for layers that make the same observation mean something else at another
    time: batch norm's running statistics, which no gradient moves, and dropout's chance. A ratio
    π/π_old would then begin elsewhere than at 1.

    >>> net = nn.Linear(4, 2)
    >>> own_net(net) is net
    False
    """
    for name, layer in net.named_modules():
        noisy = isinstance(layer, _DropoutNd) and layer.p > 0
        running = isinstance(layer, _NormBase) and layer.track_running_stats
        if noisy or running:
            raise ConfigError(
                f"the net's layer `{name or type(layer).__name__}` is a {type(layer).__name__}: "
                "in training it gives other numbers than when it acts, and π/π_old would not "
                "begin at 1. Take LayerNorm, or normalise_observations=True, and no dropout."
            )
    return copy.deepcopy(net)
