"""Finite MDPs: the models, the sides, and how each is measured; see ../mdp_vs_quantecon.py."""
