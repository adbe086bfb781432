"""Critics of the language world: the return expected after a prompt and some tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from logpi.worlds.lm.inputs import Completions
from logpi.worlds.lm.model import LanguageModel
from logpi.worlds.lm.packing import Group
from logpi.worlds.lm.policy import LMPolicy, States

__all__ = ["ValueHead", "ValueModel"]


class ValueHead:
    """V(s) = head(h(s)), h the policy's last hidden state, detached: its trunk is not trained.

    The head is linear, or has one hidden layer of `width` units, and starts at V = 0. The trunk
    runs once per batch: `loss` reads the hidden states that `values` of the same inputs left.
    """

    def __init__(self, policy: LMPolicy, *, width: int | None = None, seed: int = 0) -> None:
        """Take the policy whose hidden states are read."""
        self._pass = policy.view()
        self.head = _head(policy.lm, width, seed)
        self._known: tuple[Completions, Tensor] | None = None

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The head's."""
        return self.head.named_parameters()

    @torch.no_grad()
    def values(self, inputs: Completions) -> tuple[Tensor, Tensor]:
        """V(s_t) and V(s_{t+1}) of every decision, [n, t] each; 0 where there is none."""
        features = _after_each_token(self._pass, inputs, lambda hidden: hidden)
        self._known = (inputs, features)
        return _split(self._value(features), inputs)

    def loss(self, inputs: Completions, target: Tensor, weight: Tensor) -> Tensor:
        """Σ weight (V(s_t) − target)², its gradient added to the head's."""
        if self._known is None or self._known[0] is not inputs:
            self.values(inputs)
        assert self._known is not None
        on = inputs.mask & (weight != 0)
        error = self._value(self._known[1][:, :-1][on]) - target[on]
        loss = (weight[on] * error.square()).sum()
        loss.backward()
        return loss.detach()

    def _value(self, hidden: Tensor) -> Tensor:
        return self.head(hidden.to(self.head_dtype)).squeeze(-1)

    @property
    def head_dtype(self) -> torch.dtype:
        """The head's precision: float32, or float64 where the model's is."""
        return next(self.head.parameters()).dtype


class ValueModel:
    """V(s) = head(h(s)) with a trunk of its own: a copy of the policy's, trained with the head."""

    def __init__(self, policy: LMPolicy, *, width: int | None = None, seed: int = 0) -> None:
        """Copy the policy's model."""
        self.policy = policy.copy()
        self.head = _head(policy.lm, width, seed)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The trunk's and the head's, without the layer that makes logits: no value reads it."""
        lm = self.policy.lm
        for name, p in (lm.causal if lm.head.plain else lm.trunk).named_parameters():
            if p.requires_grad:
                yield f"trunk.{name}", p
        yield from ((f"head.{name}", p) for name, p in self.head.named_parameters())

    @torch.no_grad()
    def values(self, inputs: Completions) -> tuple[Tensor, Tensor]:
        """V(s_t) and V(s_{t+1}) of every decision, [n, t] each; 0 where there is none."""
        found = _after_each_token(self.policy, inputs, lambda hidden: self._value(hidden)[:, None])
        return _split(found.squeeze(-1), inputs)

    def loss(self, inputs: Completions, target: Tensor, weight: Tensor) -> Tensor:
        """Σ weight (V(s_t) − target)², its gradient added to the trunk's and the head's."""
        total = weight.new_zeros(())
        on = inputs.mask & (weight != 0)
        weight = torch.where(on, weight, 0)
        for group, states in self.policy.states(inputs, on):
            row, step, place = _places(group, states, target.device)
            value = self._value(states.hidden.index_select(0, place.to(states.hidden.device)))
            error = value.to(target.device) - target[row, step]
            loss = (weight[row, step] * error.square()).sum()
            loss.backward()
            total += loss.detach()
        return total

    def _value(self, hidden: Tensor) -> Tensor:
        return self.head(hidden.to(next(self.head.parameters()).dtype)).squeeze(-1)


def _head(lm: LanguageModel, width: int | None, seed: int) -> nn.Module:
    size = lm.size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        last = nn.Linear(width or size, 1)
        head = nn.Sequential(nn.Linear(size, width), nn.GELU(), last) if width else last
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    dtype = torch.float64 if lm.model.dtype == torch.float64 else torch.float32
    return head.to(lm.device, dtype)


def _after_each_token(
    policy: LMPolicy, inputs: Completions, read: Callable[[Tensor], Tensor]
) -> Tensor:
    """[n, t + 1, ...] what `read` makes of the states before every token and after the last one."""
    rows, steps = inputs.tokens.shape
    # One more token makes the state after the last one a state before some token; it never runs.
    more = Completions(
        prompts=inputs.prompts,
        prompt_of=inputs.prompt_of,
        tokens=torch.nn.functional.pad(inputs.tokens, (0, 1)),
        length=inputs.length + 1,
    )
    # What lies beyond a row's end is no part of it, and rows equal up to there are to be merged.
    beyond = torch.arange(steps + 1, device=more.tokens.device) >= inputs.length[:, None]
    more.tokens.masked_fill_(beyond, 0)
    found: Tensor | None = None
    for group, states in policy.states(more, more.mask):
        row, step, place = _places(group, states, inputs.tokens.device)
        seen = read(states.hidden.index_select(0, place.to(states.hidden.device)))
        if found is None:
            found = inputs.tokens.new_zeros((rows, steps + 1, seen.shape[1]), dtype=seen.dtype)
        found[row, step] = seen.to(found.device)
    assert found is not None, "a batch has rows"
    return found


def _places(group: Group, states: States, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Row, step and state position of every decision of the rows that these stand for."""
    row, step, place = [], [], []
    for distinct, before in zip(group, states.before, strict=True):
        for i in distinct.rows:
            row.append(np.full(len(before), i))
            step.append(np.arange(len(before)))
            place.append(before)
    return tuple(torch.from_numpy(np.concatenate(x)).to(device) for x in (row, step, place))  # type: ignore[return-value]


def _split(values: Tensor, inputs: Completions) -> tuple[Tensor, Tensor]:
    mask = inputs.mask
    return values[:, :-1].masked_fill(~mask, 0), values[:, 1:].masked_fill(~mask, 0)
