"""logpi: reinforcement learning as one equation, in finite MDPs, Gymnasium and language models."""
