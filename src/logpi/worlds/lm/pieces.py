"""The text that each token adds to what stands before it."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

__all__ = ["pieces"]

_BEFORE = 8  # tokens of context: enough for any tokenizer's spaces and multi-byte characters


def pieces(tokenizer: PreTrainedTokenizerBase, before: list[int], tokens: list[int]) -> list[str]:
    """The text of each of `tokens`, written after the tokens `before`.

    A token by itself may lose the space in front of it. Where a token only completes a character,
    its own text is given.

    >>> from logpi.worlds.lm.tiny import character_tokenizer
    >>> pieces(character_tokenizer("ab"), [2], [3, 2, 1])
    ['b', 'a', '<eos>']
    """
    told: list[str] = []
    whole = [*before, *tokens]
    for place in range(len(before), len(whole)):
        context = whole[max(0, place - _BEFORE) : place]
        without = str(tokenizer.decode(context))
        with_token = str(tokenizer.decode([*context, whole[place]]))
        added = with_token.removeprefix(without) if with_token.startswith(without) else ""
        told.append(added or str(tokenizer.decode([whole[place]])))
    return told
