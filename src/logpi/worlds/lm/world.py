"""`LM`: what a run in the language world is made of; `OpenLM`: the same with its model loaded."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from logpi.core.errors import ConfigError
from logpi.core.recipe import Recipe
from logpi.core.seeds import mix
from logpi.core.types import Batch, Critic, Source
from logpi.worlds.lm.compiled import check_compiler
from logpi.worlds.lm.critic import ValueHead, ValueModel
from logpi.worlds.lm.data import Example, encode_all, kind_of, read
from logpi.worlds.lm.decoding import Sampling
from logpi.worlds.lm.demos import demo_data, demo_model
from logpi.worlds.lm.evaluate import Evaluator, Kind
from logpi.worlds.lm.filtered import FilteredSource
from logpi.worlds.lm.given import DemonstrationSource, PairSource
from logpi.worlds.lm.inputs import Completions
from logpi.worlds.lm.model import LanguageModel, load
from logpi.worlds.lm.pieces import pieces
from logpi.worlds.lm.policy import LMPolicy
from logpi.worlds.lm.preferred import PairEvaluator
from logpi.worlds.lm.rewards import LONGEST, Rewards
from logpi.worlds.lm.source import SampledSource
from logpi.worlds.settings import Settings

__all__ = ["LM", "OpenLM"]


def _listed(given: Any) -> Any:
    return (given,) if isinstance(given, str) else given


class LM(Settings):
    """A language model, its data, and how completions are drawn and judged.

    `group_size` completions are drawn for each of `prompts_per_batch` prompts; demonstrations and
    pairs take `prompts_per_batch` examples at a time.

    >>> LM(model="demo:arithmetic", data="demo:arithmetic/train", reward="exact_match").group_size
    8
    """

    kind: Literal["lm"] = Field(default="lm", description="the language world")
    model: str | Path = Field(description="a Hugging Face folder or hub name, or demo:NAME")
    data: str | Path | list[dict[str, Any]] = Field(
        description="JSONL, CSV or Parquet file, data set folder or hub name, demo:NAME/PART"
    )
    split: str = Field(default="train", description="which split of a data set")
    reward: str | dict[str, Any] | list[Any] | Callable[..., Any] | None = Field(
        default=None, description="a built-in reward's name, several, or (from Python) a function"
    )
    reward_weights: list[float] | None = Field(
        default=None, description="one weight for each reward"
    )
    reward_workers: int = Field(default=1, ge=1, description="processes that run the reward")
    reward_timeout: float = Field(
        default=5.0, gt=0, le=LONGEST, description="seconds that one reward may take"
    )
    max_missing: float = Field(
        default=0.1, ge=0, le=1, description="share of missing rewards that stops the run"
    )
    step_separator: str | None = Field(
        default=None,
        description='where a rewarded completion\'s steps end; "": every character is a step',
    )
    eval_data: str | Path | list[dict[str, Any]] | None = Field(
        default=None, description="held-out data, like `data`"
    )
    eval_split: str = Field(default="train", description="which split of the held-out data set")
    reference: str | Path | None = Field(
        default=None, description="the reference policy; the initial model by default"
    )
    group_size: int = Field(default=8, ge=1, description="completions for each prompt")
    prompts_per_batch: int = Field(
        default=32, ge=1, description="prompts, demonstrations or pairs an iteration"
    )
    max_draws: int = Field(
        default=4, ge=1, description="draws at most, where only groups that differ are kept"
    )
    max_new_tokens: int = Field(default=256, ge=1, description="the most tokens of a completion")
    temperature: float = Field(
        default=1.0, gt=0, description="the policy is softmax(logits / temperature)"
    )
    top_k: int = Field(
        default=0, ge=0, description="sample among the k likeliest tokens; 0 for all"
    )
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="sample among the likeliest tokens of this mass"
    )
    min_p: float = Field(
        default=0.0, ge=0, lt=1, description="sample tokens of at least this share of the likeliest"
    )
    stop: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        default=(), description="texts that end a completion, or one text"
    )
    dtype: str = Field(default="float32", description="float32, bfloat16, float16, float64 or auto")
    autocast: bool = Field(
        default=False, description="train under bfloat16 autocast, keeping float32 weights"
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, ...")
    attention: str = Field(
        default="auto",
        description="sdpa, eager, flash_attention_2, ...; auto lets the model choose",
    )
    lora: dict[str, Any] | None = Field(
        default=None, description="r, alpha, targets: train an adapter only"
    )
    critic: Literal["head", "model"] = Field(
        default="head", description="a head on the policy, or a model of its own"
    )
    token_budget: int | None = Field(
        default=None,
        ge=1,
        description="tokens of a forward pass in training; unset: what suits the device",
    )
    compile: bool = Field(
        default=False,
        description="compile the layers for training: a slower first step, then faster ones",
    )

    @property
    def sampling(self) -> Sampling:
        """How completions are drawn."""
        return Sampling(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            stop=self.stop,
        )

    def check(self, name: str, recipe: Recipe) -> None:
        """Raise `ConfigError` where this world cannot give the recipe what it needs."""
        if recipe.data in ("groups", "mixed-groups") and self.group_size < 2:
            raise ConfigError(
                f"group_size is {self.group_size}, but `{name}` compares the completions of a "
                "prompt and needs at least 2. Set world.group_size=8, or take a recipe without "
                "groups, such as reinforce."
            )
        if recipe.data not in ("demonstrations", "pairs") and self.reward is None:
            raise ConfigError(
                f"`{name}` learns from rewards and the world has none. Give reward=... a function "
                "from Python, --reward file.py:function on the command line, or the name of a "
                "built-in one, such as numeric_match."
            )
        if recipe.data == "replay" or recipe.update == "natural" or recipe.critic == "q":
            raise ConfigError(
                f"`{name}` does not run in the language world, which has no replayed data, natural "
                "step or action-value critic. Take ppo, grpo or another recipe that `logpi train "
                "--list` shows."
            )
        if "scored" in recipe.reads and self.step_separator is None:
            raise ConfigError(
                f"`{name}` rewards the steps of a completion, but no step_separator says where a "
                f"step ends. "
                'Set world.step_separator="\\n" (or what your steps end with).'
            )

    def evaluator(
        self, recipe: Recipe, model: str | Path, resources: contextlib.ExitStack, *, seed: int
    ) -> Evaluator | PairEvaluator:
        """What measures the model in a folder on this world's held-out data.

        Raises `ConfigError` where there is none.
        """
        if self.eval_data is None:
            raise ConfigError("the run has no held-out data. Train with world.eval_data=...")
        lm = load(model, dtype=self.dtype, device=self.device, attention=self.attention)
        policy = LMPolicy(lm, token_budget=self.token_budget, autocast=self.autocast)
        if (kind := _held_out(self, recipe)) == "pairs":
            reference = None
            if "logp_ref" in recipe.reads:
                scratch = resources.enter_context(tempfile.TemporaryDirectory())
                reference = _open_reference(self, self.reference or self.model, Path(scratch), lm)
            return _pair_evaluator(self, policy, recipe, reference)
        rewards = _open_rewards(self, resources)
        return _open_evaluator(self, policy, kind, rewards, seed=seed)

    def open(self, name: str, recipe: Recipe, *, seed: int, scratch: Path) -> OpenLM:
        """This world with its model loaded and its data read; `scratch` holds a demo's model.

        Raises `ConfigError`, `ModelError` or `DataError` where the pieces do not fit together.
        """
        self.check(name, recipe)
        if self.compile:
            check_compiler()
        torch.manual_seed(mix(seed, 0xA11))
        folder = _folder(self.model, scratch)
        lm = load(
            folder,
            dtype=self.dtype,
            device=self.device,
            attention=self.attention,
            lora=self.lora,
            called=str(self.model),
        )
        return OpenLM(self, name, recipe, lm=lm, seed=seed, scratch=scratch)


def _folder(model: str | Path, scratch: Path) -> str | Path:
    if str(model).startswith("demo:"):
        return demo_model(str(model), scratch)
    return model


def _rows(spec: Any) -> Any:
    return demo_data(spec) if isinstance(spec, str) and spec.startswith("demo:") else spec


def _open_rewards(config: LM, resources: contextlib.ExitStack) -> Rewards | None:
    if config.reward is None:
        return None
    rewards = Rewards(
        config.reward,
        weights=config.reward_weights,
        workers=config.reward_workers,
        timeout=config.reward_timeout,
        max_missing=config.max_missing,
    )
    resources.callback(rewards.close)
    return rewards


def _held_out(config: LM, recipe: Recipe) -> Kind:
    """What is measured: with a reward, how good what the model writes is, unless they are pairs."""
    kind = _KINDS.get(recipe.data, "prompts")
    if config.reward is None or kind != "pairs" or config.eval_data is None:
        return kind if config.reward is None else "prompts"
    found = kind_of(_rows(config.eval_data), split=config.eval_split)
    return "pairs" if found == "pairs" else "prompts"


def _held_out_examples(config: LM, policy: LMPolicy, kind: Kind) -> Sequence[Example]:
    if config.eval_data is None:
        return []
    tokenizer, split = policy.lm.tokenizer, config.eval_split
    return read(_rows(config.eval_data), kind=kind, tokenizer=tokenizer, split=split)


def _pair_evaluator(
    config: LM, policy: LMPolicy, recipe: Recipe, reference: LMPolicy | None
) -> PairEvaluator:
    examples = _held_out_examples(config, policy, "pairs")
    log_prob = None if reference is None else reference.log_prob
    return PairEvaluator(policy, examples, recipe=recipe, reference=log_prob)


def _open_evaluator(
    config: LM, policy: LMPolicy, kind: Kind, rewards: Rewards | None, *, seed: int
) -> Evaluator:
    examples = _held_out_examples(config, policy, kind)
    return Evaluator(
        policy, examples, kind=kind, rewards=rewards, sampling=config.sampling, seed=seed
    )


def _open_reference(
    config: LM, model: str | Path, scratch: Path, judged: LanguageModel
) -> LMPolicy:
    lm = load(
        _folder(model, scratch),
        dtype=config.dtype,
        device=config.device,
        attention=config.attention,
        called=str(model),
    )
    if lm.vocabulary < judged.vocabulary:
        raise ConfigError(
            f"the reference policy {str(model)!r} knows {lm.vocabulary} tokens, but the model "
            f"{judged.vocabulary}, so it cannot judge all that the model may write. Give a "
            "reference with the model's own tokenizer."
        )
    lm.model.requires_grad_(False)
    return LMPolicy(lm, token_budget=config.token_budget, autocast=config.autocast)


_KINDS: dict[str, Kind] = {"demonstrations": "demonstrations", "pairs": "pairs"}
_COMPARE = {"groups": "groups", "mixed-groups": "mixed-groups", "on-policy+greedy": "greedy"}


class OpenLM:
    """The language world at work: policy, source, reference policy, critic, evaluation, export."""

    def __init__(
        self, config: LM, name: str, recipe: Recipe, *, lm: LanguageModel, seed: int, scratch: Path
    ) -> None:
        """Read the data, start the reward's workers, and load what the recipe reads."""
        self.config, self.recipe, self.lm = config, recipe, lm
        self._scratch, self._seed = scratch, seed
        self._resources = contextlib.ExitStack()
        self.policy = LMPolicy(
            lm,
            token_budget=config.token_budget,
            autocast=config.autocast,
            compiled=config.compile,
        )
        kind = _KINDS.get(recipe.data, "prompts")
        self._examples = read(
            _rows(config.data), kind=kind, tokenizer=lm.tokenizer, split=config.split
        )
        self.rewards = _open_rewards(config, self._resources)
        wants_reference = "logp_ref" in recipe.reads or recipe.data == "filtered"
        self.reference = self._open_reference() if wants_reference else None
        self.source = self._open_source()
        self.critic = self._open_critic()
        self.evaluate = self._open_evaluator()

    def _open_reference(self) -> LMPolicy:
        given = self.config.reference
        if given is None:
            return self.policy.reference()
        return _open_reference(self.config, given, self._scratch, self.lm)

    def _open_evaluator(self) -> Evaluator | PairEvaluator:
        config, recipe = self.config, self.recipe
        if (kind := _held_out(config, recipe)) == "pairs":
            return _pair_evaluator(config, self.policy, recipe, self.reference)
        return _open_evaluator(config, self.policy, kind, self.rewards, seed=self._seed)

    def _open_source(self) -> Source:
        c, lm, kind = self.config, self.lm, _KINDS.get(self.recipe.data, "prompts")
        encoded = encode_all(lm.tokenizer, self._examples, kind=kind, **lm.limits)
        if kind == "demonstrations":
            return DemonstrationSource(encoded, rows=c.prompts_per_batch, seed=self._seed)
        if kind == "pairs":
            return PairSource(encoded, pairs=c.prompts_per_batch, seed=self._seed)
        assert self.rewards is not None
        sampled = SampledSource(
            self._examples,
            [ids[0] for ids in encoded],
            self.rewards,
            sampling=c.sampling,
            prompts_per_batch=c.prompts_per_batch,
            group_size=c.group_size,
            seed=self._seed,
            compare=_COMPARE.get(self.recipe.data, "none"),
            step_separator=c.step_separator,
            max_draws=c.max_draws,
        )
        if self.recipe.data != "filtered":
            return sampled
        prompts = len(self._examples)
        return FilteredSource(sampled, self._behaviour(), self.recipe.credit, prompts=prompts)

    def _behaviour(self) -> LMPolicy:
        assert self.reference is not None
        if self.reference.lm is self.lm:
            raise ConfigError(
                "rft samples from the initial model, which an adapter shares with the policy. Give "
                "reference=... a second copy of the model, or take online_rft."
            )
        return self.reference

    def _open_critic(self) -> Critic | None:
        if self.recipe.critic is None:
            return None
        return ValueHead(self.policy) if self.config.critic == "head" else ValueModel(self.policy)

    def reference_log_prob(self, inputs: Completions) -> Tensor:
        """[n, t] log-probabilities under the frozen reference policy."""
        if self.reference is None:
            raise ConfigError("this recipe has no reference policy: it reads no `logp_ref`.")
        return self.reference.log_prob(inputs)

    def describe(self, batch: Batch, row: int) -> dict[str, Any]:
        """The texts of a row, for the record: prompt, completion, and each decision's token."""
        inputs: Completions = batch.inputs
        tokenizer = self.lm.tokenizer
        tokens = inputs.tokens[row, : int(inputs.length[row])].tolist()
        prompt = inputs.prompts[int(inputs.prompt_of[row])].tolist()
        return {
            "prompt": tokenizer.decode(prompt),
            "completion": tokenizer.decode(tokens, skip_special_tokens=True),
            "actions": pieces(tokenizer, prompt, tokens),
        }

    def export(self, folder: Path) -> Path:
        """The folder, now holding the trained model as Hugging Face loads it."""
        return self.lm.save(folder)

    def tensors(self) -> Mapping[str, Tensor]:
        """What training changes, by name."""
        return {name: p.detach() for name, p in self.lm.named_parameters()}

    def close(self) -> None:
        """End the reward's workers. May be called twice."""
        self._resources.close()
