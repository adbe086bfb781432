"""Every method's loss as trainers write it, differentiated by autograd and by nothing of logpi.

Each takes a case and the method's constants, with the defaults that its paper or its usual trainer
has. Nothing here calls a credit, a coefficient, an average or a return of the library.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
import torch.nn.functional as F
from tests.core.cases import Case
from torch import Tensor

LOSSES: dict[str, Callable[..., Tensor]] = {}


def written(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    LOSSES[loss.__name__] = loss
    return loss


# -- averages -----------------------------------------------------------------------------------


def token_mean(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).sum() / mask.sum()


def sequence_mean(x: Tensor, mask: Tensor) -> Tensor:
    return ((x * mask).sum(1) / mask.sum(1).clamp(min=1)).mean()


def sequence_sum(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).sum(1).mean()


# -- what an action earned, with plain loops -----------------------------------------------------


def returns(reward: Tensor, case: Case, *, bootstrap: bool = False) -> Tensor:
    """G_t, backwards; at an end what follows is V(s_{t+1}) if `bootstrap`, else nothing."""
    s = case.signals
    out = torch.zeros_like(reward)
    for i in range(reward.shape[0]):
        after = 0.0
        for t in reversed(range(reward.shape[1])):
            if s.end[i, t]:
                after = s.next_value[i, t] if bootstrap else 0.0
            after = reward[i, t] + s.discount[i, t] * after
            out[i, t] = after
    return out


def scores(case: Case, reward: Tensor | None = None) -> Tensor:
    """The return of each row's only trajectory."""
    return returns(case.signals.reward if reward is None else reward, case)[:, 0]


def advantages(case: Case, lam: float, reward: Tensor | None = None) -> Tensor:
    """GAE, as PPO's loops write it: `running` is forgotten where an episode stops."""
    s = case.signals
    reward = s.reward if reward is None else reward
    out = torch.zeros_like(reward)
    for i in range(reward.shape[0]):
        running = 0.0
        for t in reversed(range(reward.shape[1])):
            delta = reward[i, t] + s.discount[i, t] * s.next_value[i, t] - s.value[i, t]
            running = delta if s.end[i, t] else delta + s.discount[i, t] * lam * running
            out[i, t] = running
    return out


def discounts(case: Case) -> Tensor:
    """γ^t within each episode."""
    s = case.signals
    out = torch.ones_like(s.discount)
    for i in range(out.shape[0]):
        start = 0
        for t in range(out.shape[1]):
            out[i, t] = prod(s.discount[i, start:t].tolist())
            start = t + 1 if s.end[i, t] else start
    return out


def rows_of(case: Case, i: int) -> list[int]:
    """The rows of row i's group."""
    group = case.signals.group.tolist()
    return [j for j, g in enumerate(group) if g == group[i]]


def compared(case: Case, rule: Callable[[Tensor, Tensor], Tensor], score: Tensor) -> Tensor:
    """rule(own score, scores of the group), for each row; the same for all of its tokens."""
    rows = [rule(score[i], score[rows_of(case, i)]) for i in range(len(score))]
    return torch.stack(rows)[:, None].expand(case.signals.mask.shape)


def z_score(own: Tensor, group: Tensor) -> Tensor:
    return (own - group.mean()) / (group.std() + 1e-4)


def centred(own: Tensor, group: Tensor) -> Tensor:
    return own - group.mean()


def against_others(own: Tensor, group: Tensor) -> Tensor:
    return own - (group.sum() - own) / (len(group) - 1)


def whiten(x: Tensor, mask: Tensor) -> Tensor:
    mean = token_mean(x, mask)
    variance = token_mean((x - mean) ** 2, mask)
    return (x - mean) / (variance.sqrt() + 1e-8)


def less_kl(case: Case, beta: float) -> Tensor:
    """Token rewards with the reference policy inside."""
    s = case.signals
    return s.reward - beta * (s.logp_old - s.logp_ref) * s.mask


# -- policy losses, per token --------------------------------------------------------------------


def ratio_of(case: Case) -> Tensor:
    return torch.exp(case.logp - case.signals.logp_old)


def clipped(case: Case, advantage: Tensor, low: float = 0.2, high: float = 0.2) -> Tensor:
    ratio = ratio_of(case)
    return -torch.min(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


def k3(case: Case) -> Tensor:
    u = case.signals.logp_ref - case.logp
    return u.exp() - u - 1


# -- classic -------------------------------------------------------------------------------------


@written
def reinforce_total(case: Case, start_discounted: bool = False) -> Tensor:
    credit = scores(case)[:, None] * (discounts(case) if start_discounted else 1)
    return sequence_sum(-case.logp * credit, case.signals.mask)


@written
def reinforce(case: Case, baseline: float = 0.0, start_discounted: bool = False) -> Tensor:
    credit = returns(case.signals.reward, case) - baseline
    credit = credit * (discounts(case) if start_discounted else 1)
    return sequence_sum(-case.logp * credit, case.signals.mask)


@written
def reinforce_baseline(case: Case) -> Tensor:
    s = case.signals
    return sequence_sum(-case.logp * (returns(s.reward, case, bootstrap=True) - s.value), s.mask)


@written
def qac(case: Case) -> Tensor:
    return sequence_sum(-case.logp * case.signals.q, case.signals.mask)


@written
def a2c(case: Case, lam: float = 0.0) -> Tensor:
    return sequence_sum(-case.logp * advantages(case, lam), case.signals.mask)


@written
def off_policy_ac(case: Case, rho_max: float | None = None) -> Tensor:
    s, ratio = case.signals, ratio_of(case)
    if rho_max is None:
        return sequence_sum(-ratio * advantages(case, 0.0), s.mask)
    rho = ratio.detach()
    target = torch.zeros_like(rho)  # v_s, backwards: IMPALA, remark 1
    credit = torch.zeros_like(rho)
    for i in range(rho.shape[0]):
        surplus = following = 0.0
        for t in reversed(range(rho.shape[1])):
            r, gamma, v = s.reward[i, t], s.discount[i, t], s.value[i, t]
            if s.end[i, t]:
                surplus, following = 0.0, s.next_value[i, t]
            delta = min(rho[i, t], rho_max) * (r + gamma * s.next_value[i, t] - v)
            surplus = delta + gamma * min(rho[i, t], 1.0, rho_max) * surplus
            credit[i, t] = r + gamma * following - v
            target[i, t] = following = v + surplus
    return sequence_sum(-rho.clamp(max=rho_max) * credit * case.logp, s.mask)


@written
def trpo(case: Case, lam: float = 0.95) -> Tensor:
    """The surrogate E[π/π_old A], whose gradient is taken at π_old; the step is the update's."""
    ratio = torch.exp(case.logp - case.logp.detach())
    return sequence_sum(-ratio * advantages(case, lam), case.signals.mask)


@written
def ppo(
    case: Case,
    lam: float = 0.95,
    low: float = 0.2,
    high: float = 0.2,
    cap: float | None = None,
    beta: float = 0.0,
) -> Tensor:
    advantage = advantages(case, lam, less_kl(case, beta))
    loss = clipped(case, advantage, low, high)
    if cap is not None:
        loss = torch.where(advantage < 0, torch.min(loss, -cap * advantage), loss)
    return token_mean(loss, case.signals.mask)


@written
def ppo_dual_clip(case: Case, lam: float = 0.95, cap: float = 3.0) -> Tensor:
    return ppo(case, lam=lam, cap=cap)


# -- demonstrations and preferences --------------------------------------------------------------


@written
def sft(case: Case) -> Tensor:
    mask = case.signals.mask
    return F.cross_entropy(case.logits[mask], case.actions[mask])


@written
def rft(case: Case, threshold: float = 0.5) -> Tensor:
    """Cross-entropy on the rows that are kept; the others are counted and push nothing."""
    mask, total = case.signals.mask, case.logits.sum() * 0.0
    for i, score in enumerate(scores(case)):
        if score > threshold and mask[i].any():
            total = total + F.cross_entropy(case.logits[i, mask[i]], case.actions[i, mask[i]])
    return total / len(mask)


@written
def online_rft(case: Case, threshold: float = 0.5) -> Tensor:
    return rft(case, threshold)


def chosen_and_rejected(case: Case) -> tuple[list[int], list[int]]:
    score = scores(case)
    pairs = [rows_of(case, i) for i in range(len(score))]
    chosen = [max(p, key=lambda j: score[j]) for p in pairs if p[0] == min(p)]
    rejected = [min(p, key=lambda j: score[j]) for p in pairs if p[0] == min(p)]
    return list(dict.fromkeys(chosen)), list(dict.fromkeys(rejected))


def margin(case: Case, per_row: Tensor) -> Tensor:
    chosen, rejected = chosen_and_rejected(case)
    return per_row[chosen] - per_row[rejected]


def log_ratio(case: Case) -> Tensor:
    return (case.logp - case.signals.logp_ref) * case.signals.mask


def lengths(case: Case) -> Tensor:
    return case.signals.mask.sum(1).clamp(min=1)


@written
def dpo(case: Case, beta: float = 0.1) -> Tensor:
    return -F.logsigmoid(beta * margin(case, log_ratio(case).sum(1))).mean()


@written
def dpo_mean(case: Case, beta: float = 0.1) -> Tensor:
    return -F.logsigmoid(beta * margin(case, log_ratio(case).sum(1) / lengths(case))).mean()


@written
def ipo(case: Case, beta: float = 0.1) -> Tensor:
    return ((margin(case, log_ratio(case).sum(1)) - 1 / (2 * beta)) ** 2).mean()


@written
def simpo(case: Case, beta: float = 2.0, gamma: float = 1.0) -> Tensor:
    mean = (case.logp * case.signals.mask).sum(1) / lengths(case)
    return -F.logsigmoid(beta * margin(case, mean) - gamma).mean()


# -- groups --------------------------------------------------------------------------------------


@written
def remax(case: Case, beta: float = 0.0) -> Tensor:
    credit = scores(case, less_kl(case, beta)) - case.signals.baseline
    return sequence_sum(-case.logp * credit[:, None], case.signals.mask)


@written
def rloo(case: Case, clip: float | None = None, beta: float = 0.0) -> Tensor:
    advantage = compared(case, against_others, scores(case, less_kl(case, beta)))
    loss = -case.logp * advantage if clip is None else clipped(case, advantage, clip, clip)
    return sequence_sum(loss, case.signals.mask)


@written
def reinforce_pp(case: Case, beta: float = 0.01, low: float = 0.2, high: float = 0.2) -> Tensor:
    mask = case.signals.mask
    advantage = whiten(returns(less_kl(case, beta), case), mask)
    return token_mean(clipped(case, advantage, low, high), mask)


@written
def reinforce_pp_baseline(
    case: Case, beta: float = 0.0, low: float = 0.2, high: float = 0.2
) -> Tensor:
    mask = case.signals.mask
    advantage = whiten(compared(case, centred, scores(case)), mask)
    k2 = (case.logp - case.signals.logp_ref) ** 2 / 2
    return token_mean(clipped(case, advantage, low, high) + beta * k2, mask)


@written
def grpo(case: Case, beta: float = 0.04, low: float = 0.2, high: float = 0.2) -> Tensor:
    advantage = compared(case, z_score, scores(case))
    loss = clipped(case, advantage, low, high) + beta * k3(case)
    return sequence_mean(loss, case.signals.mask)


@written
def grpo_process(case: Case, beta: float = 0.04) -> Tensor:
    s = case.signals
    normal = torch.zeros_like(s.reward)
    for i in range(len(s.mask)):
        rows = rows_of(case, i)
        of_group = s.reward[rows][s.scored[rows]]
        normal[i] = torch.where(s.scored[i], z_score(s.reward[i], of_group), 0.0)
    advantage = normal.flip(1).cumsum(1).flip(1)
    return sequence_mean(clipped(case, advantage) + beta * k3(case), s.mask)


@written
def dr_grpo(case: Case, length: int = 3000, beta: float = 0.0) -> Tensor:
    mask = case.signals.mask
    loss = clipped(case, compared(case, centred, scores(case))) + beta * k3(case)
    return (loss * mask).sum() / (len(mask) * length)


@written
def dapo(case: Case, low: float = 0.2, high: float = 0.28, beta: float = 0.0) -> Tensor:
    loss = clipped(case, compared(case, z_score, scores(case)), low, high) + beta * k3(case)
    return token_mean(loss, case.signals.mask)


@written
def gspo(case: Case, low: float = 3e-4, high: float = 4e-4, beta: float = 0.0) -> Tensor:
    """The paper's GSPO-token: stop-gradients give every token the sequence's ratio."""
    mask = case.signals.mask
    gaps = (case.logp - case.signals.logp_old) * mask
    of_sequence = (gaps.sum(1) / lengths(case)).exp().detach()[:, None]
    ratio = of_sequence * case.logp.exp() / case.logp.exp().detach()
    advantage = compared(case, z_score, scores(case))
    loss = -torch.min(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)
    return sequence_mean(loss + beta * k3(case), mask)


def gspo_sequence(case: Case, low: float = 3e-4, high: float = 4e-4) -> Tensor:
    """The same as the paper's eq. 5 has it: one ratio, one minimum a sequence, no stop-gradient."""
    gaps = (case.logp - case.signals.logp_old) * case.signals.mask
    ratio = (gaps.sum(1) / lengths(case)).exp()
    advantage = compared(case, z_score, scores(case))[:, 0]
    return -torch.min(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage).mean()


@written
def cispo(case: Case, low: float = 1.0, high: float = 4.0, beta: float = 0.0) -> Tensor:
    weight = ratio_of(case).detach().clamp(1 - low, 1 + high)
    loss = -weight * compared(case, z_score, scores(case)) * case.logp
    return token_mean(loss + beta * k3(case), case.signals.mask)


@written
def sapo(
    case: Case, tau_positive: float = 1.0, tau_negative: float = 1.05, beta: float = 0.0
) -> Tensor:
    advantage = compared(case, z_score, scores(case))
    positive = (advantage > 0).to(advantage.dtype)
    tau = tau_positive * positive + tau_negative * (1 - positive)
    gate = 4 / tau * torch.sigmoid(tau * (ratio_of(case) - 1))
    return sequence_mean(-gate * advantage + beta * k3(case), case.signals.mask)


@written
def max_rl(case: Case) -> Tensor:
    def over_mean(own: Tensor, group: Tensor) -> Tensor:
        return (own - group.mean()) / group.mean() if group.mean() > 0 else own * 0

    return token_mean(-case.logp * compared(case, over_mean, scores(case)), case.signals.mask)
