"""Finite MDPs: models, planning, learning, and the exact policy gradient."""
