"""What the losses of other trainers ascend: eight of them, audited without sampling noise.

Each loss is written out again in a few lines, as its trainer has it, and takes a dictionary of
tensors: logp (with gradient), logp_old, logp_ref, mask, reward, group. The world is all texts of at
most 3 tokens out of 3 words and an end, 40 of them, with a random policy and random rewards, in
groups of 2; every group is enumerated with its probability.

    python examples/audit_losses.py
"""

import argparse

from logpi import audit
from logpi.audit.models import texts

EPSILON = 0.2


def clipped(x, advantage):
    """Return PPO's loss of each token (arXiv 1707.06347, eq. 7)."""
    ratio, advantage = (x["logp"] - x["logp_old"]).exp(), advantage[:, None]
    return -(ratio * advantage).min(ratio.clamp(1 - EPSILON, 1 + EPSILON) * advantage)


def z_score(r):
    """Return rewards less their group's mean, over its standard deviation (arXiv 2402.03300)."""
    return (r - r.mean()) / (r.std() + 1e-4)


def grpo(x):
    """GRPO: TRL 1.16, GRPOTrainer with loss_type="grpo"; the paper's eq. 3."""
    loss = clipped(x, z_score(x["reward"]))
    return ((loss * x["mask"]).sum(1) / x["mask"].sum(1)).mean()


def dapo(x):
    """TRL 1.16's default, loss_type="dapo": a mean over all tokens (arXiv 2503.14476, eq. 8)."""
    return (clipped(x, z_score(x["reward"])) * x["mask"]).sum() / x["mask"].sum()


def token_mean(x):
    """verl's loss_agg_mode="token-mean", with rewards less the group's mean alone."""
    advantage = x["reward"] - x["reward"].mean()
    return (clipped(x, advantage) * x["mask"]).sum() / x["mask"].sum()


def dr_grpo(x):
    """Dr. GRPO (arXiv 2503.20783): TRL's loss_type="dr_grpo" with scale_rewards="none"."""
    advantage, longest = x["reward"] - x["reward"].mean(), 3
    return (clipped(x, advantage) * x["mask"]).sum() / (len(advantage) * longest)


def dr_grpo_scaled(x):
    """The same with TRL's default scale_rewards="group": the fixed length alone."""
    return (clipped(x, z_score(x["reward"])) * x["mask"]).sum() / (len(x["reward"]) * 3)


def rloo(x):
    """RLOO (arXiv 2402.14740): TRL's RLOOTrainer, whose ratio is that of the whole text."""
    r, n = x["reward"], len(x["reward"])
    advantage = r - (r.sum() - r) / (n - 1)
    ratio = ((x["logp"] - x["logp_old"]) * x["mask"]).sum(1).exp()
    return -(ratio * advantage).min(ratio.clamp(1 - EPSILON, 1 + EPSILON) * advantage).mean()


def gspo(x):
    """GSPO (arXiv 2507.18071, eq. 5): one ratio a text, the mean of its tokens' logarithms."""
    gap = ((x["logp"] - x["logp_old"]) * x["mask"]).sum(1) / x["mask"].sum(1)
    ratio, advantage = gap.exp(), z_score(x["reward"])
    return -(ratio * advantage).min(ratio.clamp(1 - 3e-4, 1 + 4e-4) * advantage).mean()


def reinforce_no_baseline(x):
    """REINFORCE as most tutorials have it: the mean over tokens of reward times logp."""
    return -(x["logp"] * x["mask"] * x["reward"][:, None]).sum() / x["mask"].sum()


LOSSES = [grpo, dapo, token_mean, dr_grpo, dr_grpo_scaled, rloo, gspo, reinforce_no_baseline]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What the losses of other trainers ascend.")
    parser.add_argument("--smoke", action="store_true", help="texts of at most 2 tokens")
    parser.add_argument("--seed", type=int, default=0, help="of policy and rewards")
    given = parser.parse_args()
    m = texts(3, 2 if given.smoke else 3, seed=given.seed)
    print(f"{'':<24}{'cosine':>10}{'scale':>10}{'noise/signal':>14}  against the return")
    for loss in LOSSES:
        found = audit.loss(loss, m, group_size=2).against("return")
        noise = "-" if found.noise_to_signal is None else f"{found.noise_to_signal:.1f}"
        print(f"{loss.__name__:<24}{found.cosine:>10.5f}{found.scalar:>10.4f}{noise:>14}")


if __name__ == "__main__":
    main()
