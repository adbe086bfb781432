"""The rewards of the workloads: plain functions of the text, the same on both sides."""

from __future__ import annotations

import zlib

__all__ = ["REWARDS", "answer", "distinct", "half_flat"]


def distinct(prompt: str, completion: str, **columns: object) -> float:
    """A number in [0, 1) that differs from text to text."""
    return zlib.crc32(f"{prompt}{completion}".encode()) / 2**32


def half_flat(prompt: str, completion: str, flat: bool, **columns: object) -> float:
    """0 for prompts marked as flat, whose groups so have no variance; `distinct` for the rest."""
    return 0.0 if flat else distinct(prompt, completion)


def answer(prompt: str, completion: str, answer: str, **columns: object) -> float:
    """1 for the right answer, 0 for any other."""
    return float(completion == answer)


REWARDS = {"distinct": distinct, "half_flat": half_flat, "answer": answer}
