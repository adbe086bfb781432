"""Gymnasium's environments: a row is one environment's stream, or one of its episodes."""
