"""A reward of one's own, named on the command line."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

__all__ = ["python_function"]


def python_function(spec: str) -> Callable[..., Any]:
    """The function that FILE.py:FUNCTION names; only the language world's packages can load it."""
    return import_module("logpi.worlds.lm.rewardspec").load_function(spec)
