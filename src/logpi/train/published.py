"""The learning rate of each recipe, and where it is printed.

Where nothing is printed, or only for another kind of model, the source begins with "ours". All of
these are for pre-trained models of 1 to 32 billion parameters: a small model trained from scratch
wants about a thousand times as much, which is why every preset of the demo sets `optim.lr` itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean

__all__ = ["CRITIC_RATES", "ENVIRONMENTS", "PUBLISHED", "TABULAR", "Published", "published_rate"]


class Published(NamedTuple):
    """A learning rate and its source."""

    lr: float
    source: str


_USUAL = "ours: the value that GRPO, DAPO and Dr. GRPO print"
_DPO = "arXiv 2305.18290, appendix B (there with RMSprop and 150 steps of warm-up)"
_GRPO = "arXiv 2402.03300, section 4.2"
_OPENRLHF = "ours: OpenRLHF's own script for it, whose authors are the paper's"

PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        "reinforce_total": Published(1e-6, _USUAL),
        "reinforce": Published(1e-6, _USUAL),
        "reinforce_baseline": Published(1e-6, _USUAL),
        "qac": Published(1e-6, _USUAL),
        "a2c": Published(1e-6, _USUAL),
        "off_policy_ac": Published(1e-6, _USUAL),
        "trpo": Published(1e-6, "ours, for the critic: the natural step has its own length"),
        "ppo": Published(1e-6, f"{_USUAL}; arXiv 1707.06347, table 3, prints 3e-4 for MuJoCo"),
        "ppo_dual_clip": Published(1e-6, f"{_USUAL}; arXiv 1912.09729 trains no language model"),
        "sft": Published(5e-5, "arXiv 2402.03300, section 3.2"),
        "rft": Published(5e-5, "ours: as for sft"),
        "online_rft": Published(1e-6, _USUAL),
        "dpo": Published(1e-6, _DPO),
        "dpo_mean": Published(1e-6, f"ours: as for dpo, {_DPO}"),
        "ipo": Published(1e-6, "ours: as for dpo; arXiv 2310.12036 trains no language model"),
        "simpo": Published(
            1e-6,
            "the authors' README, Llama-3-Instruct (others from 3e-7); arXiv 2405.14734",
        ),
        "remax": Published(1e-6, "the authors' script for Llama-2-7B; arXiv 2310.10505"),
        "rloo": Published(1e-6, _USUAL),
        "reinforce_pp": Published(5e-7, _OPENRLHF),
        "reinforce_pp_baseline": Published(5e-7, _OPENRLHF),
        "grpo": Published(1e-6, _GRPO),
        "grpo_process": Published(1e-6, _GRPO),
        "dr_grpo": Published(1e-6, "the authors' script for Qwen2.5-Math-7B; arXiv 2503.20783"),
        "dapo": Published(
            1e-6, "arXiv 2503.14476, section 4.1 (there with 20 iterations of warm-up)"
        ),
        "gspo": Published(1e-6, _USUAL),
        "cispo": Published(1e-6, _USUAL),
        "sapo": Published(1e-6, _USUAL),
        "max_rl": Published(1e-6, "the authors' script for Qwen3-1.7B; arXiv 2602.02710"),
    }
)
"""Name of a recipe to its learning rate and where that comes from."""


TABULAR = Published(0.1, "ours: AdamW on a table of logits")
"""The learning rate of every recipe in the finite world, where no paper prints one."""

ENVIRONMENTS = Published(3e-4, "arXiv 1707.06347, table 3, for MuJoCo")
"""The learning rate of every recipe in Gymnasium's environments."""

CRITIC_RATES: Mapping[str, float] = MappingProxyType({"lm": 1e-3, "mdp": 0.1, "gym": 3e-4})
"""The critic's learning rate in each kind of world: a value head, a table, a net of its own."""


def published_rate(name: str) -> Published:
    """The recipe's learning rate and its source. Raises `ConfigError` where the table has none.

    >>> published_rate("grpo")
    Published(lr=1e-06, source='arXiv 2402.03300, section 4.2')
    """
    if name not in PUBLISHED:
        raise ConfigError(
            f"no learning rate is known for the recipe `{name}`.{did_you_mean(name, PUBLISHED)} "
            "Give one with `optim.lr=1e-6`."
        )
    return PUBLISHED[name]
