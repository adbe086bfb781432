"""`Stops`: which completions have just ended, at an end-of-sequence token or at a stop string."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

__all__ = ["Stops", "cut"]


class Stops:
    """End-of-sequence ids and stop strings of a decoding run.

    A stop string that is one special token of the tokenizer is an id like any other. For the
    rest, a token is looked at only if it can complete a stop string, and then only as many of the
    last tokens are decoded as are needed; a find is confirmed on the whole completion, since a
    tokenizer may decode a part differently.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, eos: Sequence[int], stop: Sequence[str]
    ) -> None:
        special = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
        self._tokenizer = tokenizer
        self._ids = frozenset([*eos, *(special[s] for s in stop if s in special)])
        self.strings = tuple(s for s in stop if s not in special)
        self._ends = {s[-1] for s in self.strings}
        self._longest = max(map(len, self.strings), default=0)
        self._completing: dict[int, bool] = {}

    def ended(self, tokens: np.ndarray, length: int, rows: np.ndarray) -> np.ndarray:
        """[rows] True where the last of `length` tokens of `tokens[row]` ends the completion."""
        last = tokens[rows, length - 1]
        ended = np.array([token in self._ids for token in last.tolist()], dtype=bool)
        if self.strings:
            for i in np.flatnonzero(~ended):
                if self._completes(int(last[i])):
                    ended[i] = self._found(tokens[rows[i], :length])
        return ended

    def _completes(self, token: int) -> bool:
        """Whether a stop string may end in this token."""
        if token not in self._completing:
            text = str(self._tokenizer.decode([token]))
            # A part of a character may become any; a leading space, which may be all, is dropped.
            unclear = not text.strip() or "\N{REPLACEMENT CHARACTER}" in text
            ends = any(end in text or end.isspace() for end in self._ends)
            self._completing[token] = unclear or ends
        return self._completing[token]

    def _found(self, tokens: np.ndarray) -> bool:
        window = self._longest + 4
        while True:
            text = self.text(tokens[-window:])
            if any(s in text for s in self.strings):
                return window >= len(tokens) or any(s in self.text(tokens) for s in self.strings)
            # One token before the stop string must be in sight: the first one may lose its
            # leading space.
            inside = len(text) - len(self.text(tokens[-1:])) > self._longest
            if window >= len(tokens) or inside:
                return False
            window *= 2

    def text(self, tokens: np.ndarray) -> str:
        """These tokens as text, without end-of-sequence and other special tokens."""
        shown = [token for token in tokens.tolist() if token not in self._ids]
        return str(self._tokenizer.decode(shown, skip_special_tokens=True))

    def texts(self, rows: Sequence[np.ndarray]) -> tuple[str, ...]:
        """The text of each completion up to its first stop string; equal ones are decoded once."""
        known: dict[bytes, str] = {}
        for row in rows:
            if (key := row.tobytes()) not in known:
                known[key] = cut(self.text(row), self.strings)
        return tuple(known[row.tobytes()] for row in rows)


def cut(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stop strings.

    >>> cut("4. Next", ("Next", ". "))
    '4'
    """
    places = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(places)] if places else text
