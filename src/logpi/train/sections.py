"""The sections of a configuration: optimizer, logging, checkpoints, evaluation."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = [
    "DATA",
    "CheckpointConfig",
    "EvaluateConfig",
    "LogConfig",
    "NaturalConfig",
    "OptimConfig",
]

DATA = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
"""How every configuration model behaves: frozen, without unknown keys, without NaN."""


class OptimConfig(BaseModel):
    """The optimizer: AdamW, its learning rate and how that changes."""

    model_config = DATA

    lr: float | None = Field(
        default=None, ge=0, description="learning rate; unset: the recipe's published one"
    )
    betas: tuple[float, float] = Field(
        default=(0.9, 0.999), description="decay of AdamW's two moments"
    )
    eps: float = Field(default=1e-8, gt=0, description="added to the root of AdamW's second moment")
    weight_decay: float = Field(
        default=0.0, ge=0, description="decoupled decay of every parameter, biases included"
    )
    warmup: int = Field(
        default=0,
        ge=0,
        description="iterations over which the learning rate rises from 0, linearly",
    )
    decay: Literal["constant", "linear", "cosine"] = Field(
        default="constant",
        description="learning rate after the warm-up: kept, or brought to 0 at the last iteration",
    )
    clip: float | None = Field(
        default=1.0, gt=0, description="largest norm of the whole gradient; null: no clipping"
    )
    critic_lr: float | None = Field(
        default=None,
        ge=0,
        description="the critic's learning rate; unset: 1e-3, in the finite world 0.1",
    )
    critic_decay: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="the critic's learning rate along the run"
    )
    critic_steps: int = Field(
        default=1, ge=1, description="passes of the critic for each step of the policy"
    )
    critic_minibatches: int = Field(
        default=1, ge=1, description="steps of such a pass: what it reads is split in so many"
    )
    critic_weight: float = Field(
        default=1.0, gt=0, description="factor of the critic's squared error"
    )
    value_clip: float | None = Field(
        default=None,
        gt=0,
        description="how far a value may move from where the batch found it; null: any distance",
    )
    clip_together: bool = Field(
        default=False, description="`clip` is of policy's and critic's gradient as one"
    )

    @field_validator("betas")
    @classmethod
    def _below_one(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("both must be at least 0 and below 1")
        return betas

    @model_validator(mode="after")
    def _one_step(self) -> Self:
        if self.clip_together and self.critic_steps * self.critic_minibatches > 1:
            raise ValueError(
                "clip_together is one step of policy and critic: leave critic_steps and "
                "critic_minibatches at 1"
            )
        return self


class NaturalConfig(BaseModel):
    """The natural step of TRPO: its trust region, its conjugate gradients and its line search."""

    model_config = DATA

    delta: float = Field(
        default=0.01, gt=0, description="largest mean KL of a step, in nats (arXiv 1502.05477)"
    )
    damping: float = Field(default=0.1, ge=0, description="added to the Fisher matrix's diagonal")
    cg_iterations: int = Field(default=10, ge=1, description="steps of conjugate gradients")
    backtracks: int = Field(default=10, ge=1, description="step lengths to try, the full one first")
    shrink: float = Field(default=0.8, gt=0, lt=1, description="from one step length to the next")


class LogConfig(BaseModel):
    """What is written down besides `metrics.jsonl`."""

    model_config = DATA

    tensorboard: bool = Field(
        default=False, description="write TensorBoard event files into the run directory"
    )
    wandb: bool = Field(
        default=False, description="send the metrics to Weights & Biases, if it is installed"
    )
    decisions_every: int = Field(
        default=10, ge=0, description="iterations between records in decisions.jsonl; 0: none"
    )
    decisions_rows: int = Field(default=16, ge=1, description="rows that such a record holds")


class CheckpointConfig(BaseModel):
    """When the run can be resumed from."""

    model_config = DATA

    every: int = Field(
        default=50,
        ge=0,
        description="iterations between checkpoints, for a loss of power; a killed process loses "
        "one iteration at most (small models); 0: only at the end or on a signal",
    )
    keep: int = Field(
        default=2, ge=2, description="newest checkpoints that stay on disk, at least two"
    )


class EvaluateConfig(BaseModel):
    """When the policy is measured on held-out data."""

    model_config = DATA

    every: int = Field(
        default=0, ge=0, description="iterations between evaluations; 0: only at the end"
    )
    examples: int | None = Field(
        default=None, ge=1, description="held-out examples to use; unset: all of them"
    )
    keep_best: bool = Field(
        default=False, description="keep the best evaluated policy in best/, with its score"
    )
    stop_at: float | None = Field(
        default=None, description="end the run once the mean reward or return is this high"
    )

    @model_validator(mode="after")
    def _best_of_several(self) -> Self:
        if self.keep_best and not self.every:
            raise ValueError("keep_best needs evaluations to choose from: set evaluate.every=10")
        return self
