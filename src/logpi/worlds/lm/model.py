"""`LanguageModel`: a Hugging Face causal language model as hidden states and a head; `load`."""

from __future__ import annotations

import contextlib
import copy
import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from logpi.core.errors import ModelError
from logpi.core.nearest import did_you_mean
from logpi.worlds.lm.attention import implementations
from logpi.worlds.lm.head import Head, head_of
from logpi.worlds.lm.pretrained import from_pretrained, quiet, say_once
from logpi.worlds.lm.products import use_onednn

__all__ = ["LanguageModel", "load"]

_LOG = logging.getLogger(__name__)
_DTYPES = {"float32", "float64", "bfloat16", "float16", "auto"}
_LORA_KEYS = {"r", "alpha", "targets", "dropout"}


@dataclass(slots=True)
class LanguageModel:
    """A causal language model in evaluation mode.

    Without dropout the importance ratio is exactly 1 on the first step after sampling.
    """

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    head: Head
    eos: tuple[int, ...]  # every id that ends a completion
    pad: int
    context: int | None  # the most positions the model has, None where it has no such limit
    device: torch.device

    @property
    def causal(self) -> PreTrainedModel:
        """The model without the adapter's wrapper; adapted layers stay adapted."""
        return _causal(self.model)

    @property
    def trunk(self) -> nn.Module:
        """What maps ids to last hidden states, after the final norm.

        It is the causal model itself where that hides what it is built on; the head is then plain.
        """
        causal = self.causal
        # Llama 4's causal class takes itself for its base.
        inner = (causal.base_model, causal.get_decoder(), getattr(causal, "model", None))
        return next((x for x in inner if isinstance(x, nn.Module) and x is not causal), causal)

    def hidden(
        self,
        ids: Tensor,
        *,
        cache: Cache | None = None,
        position_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """[b, l, d] hidden states after the final norm, of `ids` [b, l] after what the cache holds.

        Of a head that is `plain` these are the model's own logits.
        """
        forward = self.causal if self.head.plain else self.trunk
        given = {"position_ids": position_ids, "attention_mask": attention_mask}
        output = forward(
            input_ids=ids,
            past_key_values=cache,
            use_cache=cache is not None,
            **{name: value for name, value in given.items() if value is not None},
        )
        found = getattr(output, "logits" if self.head.plain else "last_hidden_state", None)
        if found is None:
            raise ModelError(
                f"{type(forward).__name__} returns no hidden states. Take the model's causal class."
            )
        return found

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 logits with the model's soft-cap, not divided by a temperature."""
        return self.head.logits(hidden)

    @property
    def size(self) -> int:
        """The length of a hidden state."""
        if self.head.weight is not None:
            return self.head.weight.shape[1]
        return self.vocabulary

    @property
    def vocabulary(self) -> int:
        """How many tokens the model knows: ids are below."""
        return self.causal.config.get_text_config().vocab_size

    @property
    def limits(self) -> dict[str, Any]:
        """What `encode_all` keeps texts to: context, vocabulary, and the tokens that end one."""
        return {"context": self.context, "vocabulary": self.vocabulary, "eos": self.eos}

    @property
    def adapted(self) -> bool:
        """True where only a LoRA adapter is trained."""
        return isinstance(self.model, PeftModel)

    @contextlib.contextmanager
    def adapter_off(self) -> Iterator[None]:
        """The model as it was before training, for as long as the context lasts."""
        if not isinstance(self.model, PeftModel):
            raise ModelError(
                "there is no adapter to switch off: every weight of this model is trained. "
                "Load it with lora={...}, or use `frozen_copy()` as the reference policy."
            )
        with self.model.disable_adapter():
            yield

    def copy(self) -> LanguageModel:
        """A model of its own with the same weights."""
        return _describe(copy.deepcopy(self.model), self.tokenizer, self.device)

    def frozen_copy(self) -> LanguageModel:
        """A copy whose parameters never move: a reference policy."""
        frozen = self.copy()
        frozen.model.requires_grad_(False)
        return frozen

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that training moves: all of them, or the adapter's."""
        return ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)

    def save(self, folder: str | Path) -> Path:
        """The folder, now a plain Hugging Face one; an adapter is merged into a copy."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        model = self.model
        if isinstance(model, PeftModel):
            # A copy: subtracting a merged adapter does not restore the weights bit for bit.
            model = copy.deepcopy(model).merge_and_unload()
        with quiet():
            model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        return folder

    def save_adapter(self, folder: str | Path) -> Path:
        """The folder, now holding the adapter alone, as peft reads it."""
        if not isinstance(self.model, PeftModel):
            raise ModelError(
                "there is no adapter to save: load the model with lora={...}, or use `save`."
            )
        self.model.save_pretrained(str(folder))
        return Path(folder)


def load(
    path: str | Path,
    *,
    dtype: str = "float32",
    device: str = "auto",
    attention: str = "auto",
    lora: Mapping[str, Any] | None = None,
    called: str | None = None,
) -> LanguageModel:
    """The causal language model of a folder or hub name, checked to be one that logpi can train.

    `attention` is Hugging Face's implementation ("sdpa", "eager", ...); "auto" takes what the
    architecture supports. `lora` is {"r", "alpha", "targets"}: only the adapter is trained. Errors
    name the model by what it is `called`, where that is not its path.

    A tokenizer without a padding token, as GPT-2's, pads with its end-of-sequence token, and a line
    on stderr says so.

    Raises `ModelError` where there is no such model, it is no causal one, it keeps no key-value
    cache, it brings code of its own, neither its tokenizer nor its generation_config.json names an
    end-of-sequence token, an option is unknown, or the device is not there.
    """
    if dtype not in _DTYPES:
        raise ModelError(f"dtype {dtype!r} is unknown. Choose one of {', '.join(sorted(_DTYPES))}.")
    name = called or str(path)
    _check_attention(attention, name)
    place = _place(device)
    model, tokenizer = from_pretrained(
        path, dtype=dtype, attention=None if attention == "auto" else attention, called=called
    )
    model.to(place).eval()  # type: ignore[arg-type]  # its decorator hides the signature
    if place.type == "cpu":
        use_onednn(model)
    if lora is not None:
        model = _adapted(model, lora)
    lm = _describe(model, tokenizer, place)
    if tokenizer.pad_token_id is None:
        say_once(f"logpi: the tokenizer of {name!r} has no padding token; its end token pads.")
    return lm


def _check_attention(attention: str, name: str) -> None:
    known = ["auto", *implementations()]
    if attention in known or "/" in attention:  # with a slash it is a kernel on the hub
        return
    raise ModelError(
        f"{name!r} cannot be loaded with the attention {attention!r}: there is none of that name."
        f"{did_you_mean(attention, known)} Choose one of {', '.join(known)}."
    )


def _place(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except Exception as error:  # what a build of torch without it raises differs by device
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ModelError(
            f"the device {device!r} cannot be used here: {reason}. Give auto, cpu, or a device "
            "that this machine and this build of torch have, such as cuda:0."
        ) from error
    return place


def _check_lora(lora: Mapping[str, Any]) -> None:
    if unknown := set(lora) - _LORA_KEYS:
        raise ModelError(
            f"unknown lora option {sorted(unknown)}. Choose among {sorted(_LORA_KEYS)}."
        )
    if lora.get("dropout", 0):
        raise ModelError(
            f"lora dropout is {lora['dropout']}, but sampling and training must see the same "
            "policy. Set it to 0."
        )
    for key, kind in (("r", int), ("alpha", int | float)):
        value = lora.get(key, 1)
        if not isinstance(value, kind) or isinstance(value, bool) or not value > 0:
            raise ModelError(
                f"lora {key} is {value!r}, but must be a positive "
                f"{'whole number' if kind is int else 'number'}, such as {key}=16."
            )
    targets = lora.get("targets", "all-linear")
    listed = [targets] if isinstance(targets, str) else targets
    named = isinstance(listed, list | tuple) and all(isinstance(t, str) and t for t in listed)
    if not named or not listed:
        raise ModelError(
            f"lora targets are {targets!r}, but must be the names of layers, such as "
            '["q_proj", "v_proj"], or "all-linear".'
        )


def _adapted(model: PreTrainedModel, lora: Mapping[str, Any]) -> PeftModel:
    _check_lora(lora)
    rank = lora.get("r", 16)
    config = LoraConfig(
        r=rank,
        lora_alpha=lora.get("alpha", 2 * rank),
        target_modules=lora.get("targets", "all-linear"),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft still asks transformers by a name that transformers has deprecated.
        warnings.filterwarnings(
            "ignore", message=".*is_gradient_checkpointing", category=FutureWarning
        )
        torch.manual_seed(0)
        # GPT-2 keeps its weights transposed; peft notices by itself, and warns that it did.
        warnings.filterwarnings("ignore", message="fan_in_fan_out")
        try:
            adapted = get_peft_model(model, config)
        except ValueError as error:
            raise ModelError(f"the adapter does not fit: {error}") from error
    return adapted.eval()  # type: ignore[return-value]  # peft types it as PeftMixedModel too


def _causal(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    return model.get_base_model() if isinstance(model, PeftModel) else model  # type: ignore[return-value]  # a Module to peft


def _describe(
    model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, device: torch.device
) -> LanguageModel:
    causal = _causal(model)
    eos = _eos(causal, tokenizer)
    pad, config = tokenizer.pad_token_id, causal.config.get_text_config()
    # Nothing reads a pad: docs/adr/0013-missing-pad-token.md
    if pad is None or pad >= config.vocab_size:
        pad = eos[0]
    context = getattr(config, "max_position_embeddings", None)
    lm = LanguageModel(model, tokenizer, head_of(causal), eos, int(pad), context, device)  # type: ignore[arg-type]  # transformers types ids as anything
    _probe(lm)
    return lm


def _eos(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    generation = getattr(model.generation_config, "eos_token_id", None)
    listed = generation if isinstance(generation, list) else [generation]
    own: Any = tokenizer.eos_token_id
    vocabulary = model.config.get_text_config().vocab_size
    if own is not None and own >= vocabulary:
        raise ModelError(
            f"the tokenizer ends a text with {tokenizer.eos_token!r}, whose id is {own}, but the "
            f"model knows {vocabulary} tokens. Take the model's own tokenizer, or resize the "
            "model's embedding and train it."
        )
    found = dict.fromkeys(int(i) for i in [own, *listed] if i is not None and i < vocabulary)
    if not found:
        raise ModelError(
            "neither the tokenizer nor generation_config.json names an end-of-sequence token, so "
            "no completion could end. Set `tokenizer.eos_token` and save the folder again."
        )
    return tuple(found)


@torch.no_grad()
def _probe(lm: LanguageModel) -> None:
    """Compare head and cache with the model's own forward; use its logits if the head differs."""
    if "past_key_values" not in inspect.signature(lm.causal.forward).parameters:
        raise ModelError(_NO_CACHE.format(type(lm.causal).__name__))
    ids = (torch.arange(1, 6, device=lm.device) * 7919 % lm.vocabulary)[None]
    whole = lm.causal(input_ids=ids, use_cache=False).logits
    if not whole.isfinite().all():
        bad = [name for name, p in lm.causal.named_parameters() if not p.isfinite().all()]
        raise ModelError(
            f"{type(lm.causal).__name__} computes NaN or infinite logits"
            + (f": its weight `{bad[0]}` is not finite. " if bad else f" in {whole.dtype}. ")
            + "Take a sound checkpoint, or another dtype."
        )
    tolerance = {torch.float64: 1e-9, torch.float32: 1e-4}.get(whole.dtype, 5e-2)
    if not lm.head.plain and not _head_fits(lm, ids, whole, tolerance):
        _LOG.info(
            "the head of %s is not linear; its own logits are used.", type(lm.causal).__name__
        )
        lm.head = Head(None)
    cache = DynamicCache()
    try:
        lm.hidden(ids[:, :3], cache=cache)
        pieces = lm.logits(lm.hidden(ids[:, 3:], cache=cache))
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise ModelError(_NO_CACHE.format(type(lm.causal).__name__)) from error
    if cache.get_seq_length() != ids.shape[1] or not _close(pieces, whole[:, 3:], 10 * tolerance):
        raise ModelError(_NO_CACHE.format(type(lm.causal).__name__))


def _head_fits(lm: LanguageModel, ids: Tensor, whole: Tensor, tolerance: float) -> bool:
    if lm.trunk is lm.causal:
        return False
    try:
        return _close(lm.logits(lm.hidden(ids)), whole, tolerance)
    except ModelError:  # the trunk returns no hidden states
        return False


_NO_CACHE = (
    "{} keeps no key-value cache that agrees with its full forward pass, and decoding and training "
    "rely on one. Choose a transformer with attention layers (Llama, Qwen, Gemma, GPT-2, ...)."
)


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    span = b.double().abs().max().clamp_min(1e-6)
    return bool(((a.double() - b.double()).abs().max() / span) < tolerance)
