"""`logpi demo`."""

from __future__ import annotations

from argparse import Namespace

from logpi import demo

__all__ = ["run"]


def run(given: Namespace) -> int:
    """The demo's exit code."""
    return demo.main(quick=given.quick) or 0
