"""What the tests of the policy share: every architecture, ragged batches, plain autograd."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from logpi.worlds.lm.inputs import Completions
from logpi.worlds.lm.model import LanguageModel, load
from logpi.worlds.lm.policy import LMPolicy
from logpi.worlds.lm.tiny import tiny

MODELS = {
    "llama": {"architecture": "llama", "num_key_value_heads": 2},
    "llama-tied": {"architecture": "llama", "tie": True},
    "qwen2": {"architecture": "qwen2", "num_key_value_heads": 1},
    "qwen3": {"architecture": "qwen3", "num_key_value_heads": 2},
    "gpt2": {"architecture": "gpt2"},
    "gpt2-tied": {"architecture": "gpt2", "tie": True},
    "gemma": {"architecture": "gemma", "tie": True},
    "gemma2": {"architecture": "gemma2", "tie": True, "sliding_window": 4},
}


@functools.cache
def folder(name: str) -> Path:
    """A tiny model's folder; its weights are large enough for attention to matter."""
    place = Path(tempfile.mkdtemp(prefix="logpi-tests-"))
    return tiny(place, hidden=16, layers=2, initializer_range=0.3, **MODELS[name])


def model(name: str, *, dtype: str = "float64", **options) -> LanguageModel:
    """That model, loaded."""
    return load(folder(name), dtype=dtype, **options)


class Exact(TorchFunctionMode):
    """Float64 where a model says float32: transformers computes norms and rotations in float32."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        if kwargs.get("dtype") is torch.float32:
            kwargs["dtype"] = torch.float64
        if func is torch.Tensor.to:
            args = tuple(torch.float64 if a is torch.float32 else a for a in args)
        return func(*args, **kwargs)


def ragged(*, temperature: float = 0.8) -> tuple[Completions, Tensor]:
    """Fourteen completions of four prompts: duplicates, a dead row, dead decisions within rows."""
    g = torch.Generator().manual_seed(1)
    prompts = tuple(torch.randint(2, 17, (k,), generator=g) for k in (3, 5, 5, 9))
    prompt_of = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 1, 1])
    length = torch.tensor([7, 3, 1, 7, 4, 4, 2, 6, 6, 5, 1, 5, 4, 7])
    tokens = torch.randint(2, 17, (14, 7), generator=g)
    for copy, of in ((3, 0), (5, 4), (8, 7), (12, 4)):
        tokens[copy, : length[of]] = tokens[of, : length[of]]
    inputs = Completions(prompts, prompt_of, tokens, length, temperature)
    live = inputs.mask.clone()
    live[1] = False
    live[3, 4:] = False
    live[0, 2] = False
    live[7, 5] = False
    live[13, ::2] = False
    return inputs, live


def plain(lm: LanguageModel, inputs: Completions, coefficient: Tensor, entropy: Tensor) -> Tensor:
    """[n, t] log-probabilities, after Σ coefficient · logp + entropy · H was differentiated."""
    found = torch.zeros_like(coefficient)
    total = coefficient.new_zeros(())
    for i, length in enumerate(inputs.length.tolist()):
        prompt, tokens = inputs.prompts[int(inputs.prompt_of[i])], inputs.tokens[i, :length]
        logits = lm.model(input_ids=torch.cat([prompt, tokens])[None]).logits[
            0, len(prompt) - 1 : -1
        ]
        every = (logits / inputs.temperature).log_softmax(-1)
        logp = every.gather(1, tokens[:, None])[:, 0]
        found[i, :length] = logp.detach()
        spread = -(every.exp() * every).sum(1)
        total = total + (coefficient[i, :length] * logp + entropy[i, :length] * spread).sum()
    total.backward()
    return found


def gradients(lm: LanguageModel) -> dict[str, Tensor]:
    """The gradient of every parameter that has one; they are 0 again afterwards."""
    found = {name: p.grad.clone() for name, p in lm.named_parameters() if p.grad is not None}
    lm.model.zero_grad()
    return found


def accumulated(
    policy: LMPolicy, inputs: Completions, live: Tensor, coefficient: Tensor, **options
):
    """The gradients of Σ coefficient · logp, part by part."""
    for part in policy.parts(inputs, live, **options):
        (part.logp * coefficient[part.rows]).sum().backward()
    return gradients(policy.lm)


def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest relative difference of two sets of gradients."""
    assert a.keys() == b.keys()
    # A key's bias has gradient 0 (softmax ignores it): there only rounding is left to compare.
    scale = max(float(x.norm()) for x in b.values())
    return max(float((a[k] - b[k]).norm()) / max(float(b[k].norm()), 1e-6 * scale) for k in a)
