"""PPO in environments, side by side."""
