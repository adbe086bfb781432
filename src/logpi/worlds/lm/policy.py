"""`LMPolicy`: the log-probabilities of completions under a language model, and their gradient."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from logpi.core.errors import ShapeError
from logpi.core.types import Part
from logpi.worlds.lm import attention, packed
from logpi.worlds.lm.compiled import CompiledLayers
from logpi.worlds.lm.inputs import Completions
from logpi.worlds.lm.logprob import linear_log_prob
from logpi.worlds.lm.model import LanguageModel
from logpi.worlds.lm.packing import Counts, Group, Ids, Row, plan

__all__ = ["LMPolicy", "States"]

_LOG = logging.getLogger(__name__)
_BUDGET = {"cpu": 1024, "cuda": 16384}
"""Positions a micro-batch: on a CPU what the cache likes, on a GPU what fills it."""


class States(NamedTuple):
    """Hidden states [N, d] of a micro-batch, and which decide the tokens of each distinct row."""

    hidden: Tensor
    before: list[Ids]


class LMPolicy:
    """A language model as a policy.

    π(token | prompt and the tokens before it) = softmax(logits / temperature)

    A pass over a batch runs only what can matter: rows without a live decision are dropped, rows
    end after their last live token, equal completions of a prompt run once, a prompt runs once for
    all its rows in a micro-batch, and logits exist at live positions alone. `counts` says what the
    last pass ran.
    """

    def __init__(
        self,
        lm: LanguageModel,
        *,
        token_budget: int | None = None,
        autocast: bool = False,
        adapter: bool = True,
        share_prompts: bool = True,
        chunk: int | None = None,
        compiled: bool = False,
    ) -> None:
        """Take a model; `adapter=False` looks at it with its LoRA adapter switched off.

        `compiled` compiles its layers, for passes with gradient.
        """
        self.lm = lm
        self.token_budget = token_budget or _BUDGET.get(lm.device.type, 4096)
        self.autocast = autocast
        self.chunk = chunk
        self.counts = Counts()
        self._adapter = adapter
        self._packed = share_prompts and _packs(lm)
        self._layers = CompiledLayers(lm.causal) if compiled else None

    @property
    def packed(self) -> bool:
        """Whether prompts are shared: our attention function took the model's place, and agreed."""
        return self._packed

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What the optimizer moves."""
        return self.lm.named_parameters()

    def view(self) -> LMPolicy:
        """The same model with counts of its own."""
        return self._of(self.lm, adapter=self._adapter)

    def copy(self) -> LMPolicy:
        """A model of its own with the same weights."""
        return self._of(self.lm.copy(), adapter=self._adapter)

    def reference(self) -> LMPolicy:
        """The policy as it is before training: adapter off, or a frozen copy."""
        return self._of(self.lm if self.lm.adapted else self.lm.frozen_copy(), adapter=False)

    def _of(self, lm: LanguageModel, *, adapter: bool) -> LMPolicy:
        other = LMPolicy.__new__(LMPolicy)
        other.__dict__ = {**self.__dict__, "lm": lm, "_adapter": adapter, "counts": Counts()}
        if self._layers is not None and lm is not self.lm:
            other._layers = CompiledLayers(lm.causal)
        return other

    @torch.no_grad()
    def log_prob(self, inputs: Completions) -> Tensor:
        """[n, t] log-probabilities of every token, without gradient; 0 where there is none."""
        mask = inputs.mask
        total = torch.zeros(mask.shape, dtype=self.wide, device=inputs.tokens.device)
        for part in self.parts(inputs, mask):
            total[part.rows] = part.logp
        return total

    def parts(
        self,
        inputs: Completions,
        live: Tensor,
        *,
        unit: Tensor | None = None,
        entropy: bool = False,
    ) -> Iterator[Part]:
        """The rows with a live decision, micro-batch by micro-batch, with gradient if enabled.

        `Part.logp` is 0, and carries no gradient, where `live` is False. Call backward on one part
        before taking the next. Raises `ShapeError` where `live` is not the shape of the tokens, or
        live beyond a row's length.
        """
        for group, states in self.states(inputs, live, unit=unit):
            yield self._part(inputs, live, group, states, entropy)

    def states(
        self, inputs: Completions, live: Tensor, *, unit: Tensor | None = None
    ) -> Iterator[tuple[Group, States]]:
        """The distinct rows with a live decision and their hidden states, part by part."""
        if live.shape != inputs.tokens.shape:
            raise ShapeError(
                f"`live` is {list(live.shape)} but the tokens are {list(inputs.tokens.shape)}: "
                "it marks decisions, one per token."
            )
        if bool((live & ~inputs.mask).any()):
            raise ShapeError("`live` is True beyond the end of a row, where no decision was taken.")
        ready = plan(inputs, live, unit=unit, budget=self.token_budget, shared=self._packed)
        self.counts = ready.counts
        run = self._run_packed if self._packed else self._run_rows
        for group in ready.parts:
            with self._context():
                states = run(group, ready.prompts)
            yield group, states
            del states

    @contextlib.contextmanager
    def _context(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            if self.lm.adapted and not self._adapter:
                stack.enter_context(self.lm.adapter_off())
            if self.autocast:
                stack.enter_context(torch.autocast(self.lm.device.type, dtype=torch.bfloat16))
            if self._layers is not None and torch.is_grad_enabled():
                stack.enter_context(self._layers())
            yield

    def _run_packed(self, group: Group, prompts: list[Ids]) -> States:
        where = packed.layout(group, prompts, self.lm.device)
        self.counts.tokens_run += where.ids.numel()
        return States(_packed_hidden(self.lm, where), where.before)

    def _run_rows(self, group: Group, prompts: list[Ids]) -> States:
        """Prompt and completion in one row, padded right: a causal model needs no mask for that."""
        rows = [np.concatenate([prompts[row.prompt], row.tokens[:-1]]) for row in group]
        width = max(len(ids) for ids in rows)
        # What pads does not matter, and transformers warns of the padding token.
        ids = np.stack([np.pad(row, (0, width - len(row)), mode="edge") for row in rows])
        self.counts.tokens_run += ids.size
        hidden = self.lm.hidden(torch.from_numpy(ids).to(self.lm.device))
        before = [
            i * width + np.arange(len(prompts[row.prompt]) - 1, len(ids_of))
            for i, (row, ids_of) in enumerate(zip(group, rows, strict=True))
        ]
        return States(hidden.flatten(0, 1), before)

    def _part(
        self, inputs: Completions, live: Tensor, group: Group, states: States, entropy: bool
    ) -> Part:
        device, t = live.device, live.shape[1]
        rows = torch.tensor([i for row in group for i in row.rows], device=device)
        member = torch.tensor([k for k, row in enumerate(group) for _ in row.rows], device=device)
        here = live[rows]
        union = np.zeros((len(group), t), bool)
        np.logical_or.at(union, member.cpu().numpy(), here.cpu().numpy())
        source, target, slot = _decisions(group, states.before, union)
        with self._context():
            found = linear_log_prob(
                states.hidden.index_select(0, torch.from_numpy(source).to(self.lm.device)),
                self.lm.head,
                torch.from_numpy(target).to(self.lm.device),
                temperature=inputs.temperature,
                chunk=self.chunk,
                entropy=entropy,
            )
        place = torch.from_numpy(slot).to(self.lm.device)

        def spread(x: Tensor) -> Tensor:
            dense = x.new_zeros(len(group) * t).index_copy(0, place, x).view(len(group), t)
            return dense.to(device).index_select(0, member).masked_fill(~here, 0)

        return Part(
            rows, spread(found.logp), None if found.entropy is None else spread(found.entropy)
        )

    @property
    def wide(self) -> torch.dtype:
        """The precision of log-probabilities: float32, or float64 where the model's is."""
        return torch.float64 if self.lm.model.dtype == torch.float64 else torch.float32


def _decisions(group: Group, before: list[Ids], union: np.ndarray) -> tuple[Ids, Ids, Ids]:
    """Every live decision's state, as a position, its token, and its slot in [rows * t]."""
    source, target, slot = [], [], []
    for k, (row, states) in enumerate(zip(group, before, strict=True)):
        chosen = np.flatnonzero(union[k])
        source.append(states[chosen])
        target.append(row.tokens[chosen])
        slot.append(k * union.shape[1] + chosen)
    return np.concatenate(source), np.concatenate(target), np.concatenate(slot)


def _packed_hidden(lm: LanguageModel, where: packed.Layout) -> Tensor:
    with attention.using(where, lm.causal.config):
        return lm.hidden(where.ids, position_ids=where.position_ids)[0]


@torch.no_grad()
def _packs(lm: LanguageModel) -> bool:
    """Whether packed rows give this model's own hidden states: asked of it, not assumed."""
    if not attention.supported(lm.causal.config):
        return False
    vocabulary = lm.causal.config.get_text_config().vocab_size
    ids = (np.arange(64) * 7919 + 1) % vocabulary
    prompts = [ids[:3], ids[5:10], ids[20:24]]
    group = [
        Row(0, ids[30:34]),
        Row(0, ids[35:37]),
        Row(1, ids[40:43]),
        Row(1, ids[41:46]),
        Row(2, ids[50:53]),
    ]
    where = packed.layout(group, prompts, lm.device)
    try:
        ours = _packed_hidden(lm, where)
    except (TypeError, ValueError, RuntimeError, AttributeError, LookupError) as error:
        _LOG.info("prompts are not shared: %s", error)
        return False
    tolerance = {torch.float64: 1e-9, torch.float32: 1e-4}.get(ours.dtype, 5e-2)
    for row, at in zip(group, where.before, strict=True):
        whole = np.concatenate([prompts[row.prompt], row.tokens[:-1]])
        theirs = lm.hidden(torch.from_numpy(whole)[None].to(lm.device))[0, -len(row.tokens) :]
        if not torch.allclose(
            ours[torch.from_numpy(at).to(lm.device)], theirs, atol=tolerance, rtol=tolerance
        ):
            _LOG.info(
                "prompts are not shared: packed rows do not give %s's states",
                type(lm.causal).__name__,
            )
            return False
    return True
