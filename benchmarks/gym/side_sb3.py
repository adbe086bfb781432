"""Stable-Baselines3's side of a line, in a process of its own: one line of JSON.

python -m benchmarks.gym.side_sb3 LINE SEED
"""

from __future__ import annotations

from typing import Any

from benchmarks.gym.lines import Line
from benchmarks.gym.measure import Judge, Stopwatch, answer, watched


def model(line: Line, seed: int) -> Any:
    """PPO as it is installed, with the settings of the line."""
    import torch
    from stable_baselines3 import PPO  # type: ignore[import-not-found] # in its own environment
    from stable_baselines3.common.env_util import make_vec_env  # type: ignore[import-not-found] # as above

    torch.set_num_threads(1)
    linear = line.decay == "linear"
    return PPO(
        "MlpPolicy",
        make_vec_env(line.env, line.envs, seed=seed),
        n_steps=line.steps,
        batch_size=line.batch,
        n_epochs=line.epochs,
        learning_rate=(lambda left: line.rl * left) if linear else line.rl,
        clip_range=(lambda left: 0.2 * left) if linear else 0.2,
        gae_lambda=line.lam,
        gamma=line.discount,
        policy_kwargs={"net_arch": {"pi": [64, 64], "vf": [64, 64]}},
        device="cpu",
        seed=seed,
    )


def timed(line: Line, seed: int) -> dict[str, Any]:
    """Iterations after a first one that does not count; how much of them the environments take."""
    ppo = model(line, seed)
    ppo.learn(line.decisions)
    spent = watched(ppo.env, "step_wait")
    watch = Stopwatch()
    ppo.learn(line.iterations * line.decisions)
    seconds = watch.read()
    rate = line.iterations * line.decisions / seconds
    return {"rate": rate, "share": spent[0] / seconds}


def learned(line: Line, seed: int) -> dict[str, Any]:
    """Until the policy is good enough, once environments, nets and optimizers are made.

    To make the first optimizer imports torch's compiler, which takes longer than some lines.
    """
    from stable_baselines3.common.callbacks import BaseCallback  # type: ignore[import-not-found] # as above

    ppo, judge = model(line, seed), Judge(line.env)
    watch, found = Stopwatch(), {"seconds": None, "decisions": 0}

    class Look(BaseCallback):
        rollouts = 0

        def _on_rollout_start(self) -> None:
            # What is about to begin follows the update of the last one.
            act = lambda x: int(self.model.predict(x, deterministic=True)[0])  # noqa: E731
            if self.rollouts and judge.content(self.rollouts, watch, act):
                found["seconds"] = watch.read()
                found["decisions"] = self.rollouts * line.decisions
            self.rollouts += 1

        def _on_step(self) -> bool:
            return found["seconds"] is None

    ppo.learn(line.iterations * line.decisions, callback=Look())
    return found


if __name__ == "__main__":
    answer(timed, learned)
