"""`Evaluator`: how well a language model does on held-out data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from logpi.core.seeds import mix
from logpi.worlds.lm.batches import completions_of
from logpi.worlds.lm.data import Example, Kind, encode_all
from logpi.worlds.lm.decoding import Sampling, decode
from logpi.worlds.lm.policy import LMPolicy
from logpi.worlds.lm.rewards import Rewards
from logpi.worlds.lm.steps import judge

__all__ = ["Evaluator"]


class Evaluator:
    """Measures a policy on held-out examples: by the reward of what it writes, or by likelihood."""

    def __init__(
        self,
        policy: LMPolicy,
        examples: Sequence[Example],
        *,
        kind: Kind,
        rewards: Rewards | None,
        sampling: Sampling,
        seed: int,
    ) -> None:
        """`kind` says which ids an example has, where no reward judges what is written."""
        lm = policy.lm
        self._policy, self._examples = policy, examples
        # Now, so that a row that does not fit is refused before anything was trained.
        self._ids = encode_all(lm.tokenizer, examples, kind=kind, **lm.limits)
        self._rewards, self._sampling, self._seed = rewards, sampling, seed

    def __call__(self, *, examples: int | None = None, samples: int = 1) -> dict[str, float]:
        """Mean reward of greedy completions, or of `samples` sampled ones each, with pass@k.

        `correct` is the share of completions with a reward above ½. Without a reward, the figure is
        the mean negative log-likelihood of the held-out completions, in nats a token. Empty without
        held-out data.
        """
        chosen = self._examples[:examples]
        if not chosen:
            return {}
        if self._rewards is None:
            return self._likelihood(chosen)
        return self._reward(chosen, samples, self._rewards)

    def _reward(
        self, chosen: Sequence[Example], samples: int, rewards: Rewards
    ) -> dict[str, float]:
        lm, sampling = self._policy.lm, self._sampling
        prompts = [ids[0] for ids in self._ids[: len(chosen)]]
        if samples == 1:
            sampling = Sampling(
                max_new_tokens=sampling.max_new_tokens, temperature=0.0, stop=sampling.stop
            )
        seed = mix(self._seed, 0xE7A1)
        rollout = decode(lm, prompts, copies=samples, sampling=sampling, seed=seed)
        scores = judge(rewards, [e for e in chosen for _ in range(samples)], rollout)
        length = float(rollout.inputs.length.float().mean())
        return _figures(scores.reward, samples) | {"completion_tokens": length}

    def _likelihood(self, chosen: Sequence[Example]) -> dict[str, float]:
        ids = self._ids[: len(chosen)]
        inputs = completions_of([i[0] for i in ids], [i[1] for i in ids], self._policy.lm)
        logp = self._policy.log_prob(inputs)
        nll = float(-logp[inputs.mask.to(logp.device)].mean())
        return {"nll": nll, "examples": float(len(chosen))}


def _figures(rewards: Sequence[Any], samples: int) -> dict[str, float]:
    totals = [sum(r) if isinstance(r, list) else r for r in rewards]
    known = [r for r in totals if r is not None]
    figures = {
        "examples": float(len(totals) // samples),
        "missing": float(len(totals) - len(known)),
    }
    if not known:
        return figures
    figures["reward"] = sum(known) / len(known)
    figures["correct"] = sum(r > 0.5 for r in known) / len(known)
    if samples > 1:
        groups = [totals[i : i + samples] for i in range(0, len(totals), samples)]
        passed = [any(r is not None and r > 0.5 for r in group) for group in groups]
        figures[f"pass@{samples}"] = sum(passed) / len(passed)
    return figures
