"""A language model as an MDP: states are the prefixes that it can write, actions its tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from logpi.core.errors import ConfigError
from logpi.core.nearest import did_you_mean
from logpi.worlds.mdp.csr import from_csr, wrap
from logpi.worlds.mdp.model import FiniteMDP, Layout

__all__ = ["EOS", "NextToken", "Reward", "tokens"]

EOS = "<eos>"
"""The token that ends a completion."""

NextToken = (
    Callable[[tuple[str, ...]], Mapping[str, float]]
    | Mapping[str, Mapping[str, float]]
    | Mapping[tuple[str, ...], Mapping[str, float]]
)
"""p(next token | context): of the whole context (prompt, tokens so far), as a function or a table
of tuples, or of its last token alone, as a table of strings."""

Reward = Callable[[str, tuple[str, ...]], float] | Mapping[str, float]
"""Reward of (prompt, completion with its <eos>), or a table of texts without <eos>."""


def tokens(
    vocabulary: Sequence[str] | None = None,
    *,
    next_token: NextToken | None = None,
    reward: Reward | None = None,
    otherwise: float = 0.0,
    length: int = 3,
    prompts: Sequence[str] | Mapping[str, float] = ("",),
    eos: str = EOS,
    limit: int = 100_000,
    discount: float = 1.0,
) -> FiniteMDP:
    """Return the MDP of writing a completion token by token; `policy` is the language model.

    A state is a prompt with the tokens written so far, of which only those of positive probability
    exist; an action is a token of `vocabulary` (by default all that `next_token` names), allowed
    where the model gives it positive probability, so a forced token is a state of one action. The
    completion ends with `eos`, or when it is `length` tokens long, and then earns its reward; the
    one terminal state comes last. `reward` is a function of (prompt, tokens, which hold the `eos`
    where one was written), or a table from the text without `eos`, "a b", to a number, with
    `otherwise` for every other completion, and for every one that has no `eos`. `prompts` are drawn
    uniformly, or with the probabilities of a mapping.

    Without arguments: all of "a" and "b" up to three tokens, uniform; the reward counts the "a".

    >>> m = tokens(["a", "<eos>"], length=2, reward={"a": 1.0})
    >>> m.layout.states, m.reward[1]
    (('', 'a', '<end>'), array([0., 1.]))

    Raises `ConfigError` where a next-token distribution is none or names an unknown token, or where
    there are more than `limit` prefixes.
    """
    given = {p: 1 / len(prompts) for p in prompts} if not isinstance(prompts, Mapping) else prompts
    words = tuple(vocabulary or _named(next_token, eos) or ("a", "b", eos))
    if reward is None:
        reward = lambda _, written: float(written.count(words[0]))  # noqa: E731  # names the default
    tree = _Tree(words, eos, length)
    for prompt in given:
        tree.grow(prompt, _asked(next_token, words), _paid(reward, otherwise, eos), limit)
    return tree.model(given, discount)


@dataclass(slots=True)
class _Tree:
    """The prefixes found so far, and what follows each."""

    words: tuple[str, ...]
    eos: str
    length: int
    names: list[str] = field(default_factory=list[str])
    roots: list[int] = field(default_factory=list[int])
    # (state, action, successor or −1 where the completion ends, probability, reward)
    edges: list[tuple[int, int, int, float, float]] = field(
        default_factory=list[tuple[int, int, int, float, float]]
    )

    def grow(
        self,
        prompt: str,
        ask: Callable[[tuple[str, ...]], dict[int, float]],
        pay: Callable[[str, tuple[str, ...]], float],
        limit: int,
    ) -> None:
        """Add every prefix of one prompt, shortest first."""
        self.roots.append(self._add(prompt, (), limit))
        queue: list[tuple[int, tuple[str, ...]]] = [(self.roots[-1], ())]
        for state, written in queue:
            for action, p in ask((prompt, *written)).items():
                longer = (*written, self.words[action])
                if longer[-1] == self.eos or len(longer) >= self.length:
                    self.edges.append((state, action, -1, p, float(pay(prompt, longer))))
                    continue
                successor = self._add(prompt, longer, limit)
                self.edges.append((state, action, successor, p, 0.0))
                queue.append((successor, longer))

    def _add(self, prompt: str, written: tuple[str, ...], limit: int) -> int:
        if len(self.names) >= limit:
            raise ConfigError(
                f"there are more than {limit} prefixes of up to {self.length} tokens: "
                "make `length` or the vocabulary smaller, or raise `limit`."
            )
        self.names.append(" ".join([prompt, *written]).strip())
        return len(self.names) - 1

    def model(self, prompts: Mapping[str, float], discount: float) -> FiniteMDP:
        end, actions = len(self.names), len(self.words)
        state, action, successor, p, paid = (np.array(x) for x in zip(*self.edges, strict=True))
        policy, reward = np.zeros((end + 1, actions)), np.zeros((end + 1, actions))
        policy[state, action], reward[state, action] = p, paid
        allowed = policy > 0
        successors = np.full((end + 1, actions), end, np.int32)
        successors[state, action] = np.where(successor < 0, end, successor)
        pointers = np.concatenate([[0], np.cumsum(allowed)]).astype(np.int32)
        shape = (allowed.size, end + 1)
        start = np.zeros(end + 1)
        start[self.roots] = list(prompts.values())
        return from_csr(
            wrap(np.ones(pointers[-1]), successors[allowed], pointers, shape),
            reward,
            discount,
            allowed=allowed,
            start=start,
            policy=policy,
            layout=Layout(states=(*self.names, "<end>"), actions=self.words),
            name="tokens",
        )


def _named(next_token: NextToken | None, eos: str) -> tuple[str, ...]:
    """Every token of a table, in order of appearance, `eos` last."""
    if not isinstance(next_token, Mapping):
        return ()
    seen = dict.fromkeys(word for row in next_token.values() for word in row if word != eos)
    return (*seen, eos)


def _asked(
    next_token: NextToken | None, words: tuple[str, ...]
) -> Callable[[tuple[str, ...]], dict[int, float]]:
    """Return the function from a context to {token number: positive probability}, checked."""
    number = {word: i for i, word in enumerate(words)}

    def ask(context: tuple[str, ...]) -> dict[int, float]:
        row = _row(next_token, context, words)
        unknown = [word for word in row if word not in number]
        if unknown:
            raise ConfigError(
                f"after {context} comes {unknown[0]!r}, which is not in the vocabulary."
                f"{did_you_mean(unknown[0], words)}"
            )
        bad = [p for p in row.values() if not p >= 0]
        if bad or abs(sum(row.values()) - 1) > 1e-9:
            raise ConfigError(f"what follows {context} is no distribution: {dict(row)}.")
        return {number[word]: p for word, p in row.items() if p > 0}

    return ask


def _row(
    next_token: NextToken | None, context: tuple[str, ...], words: tuple[str, ...]
) -> Mapping[str, float]:
    if next_token is None:
        return dict.fromkeys(words, 1 / len(words))
    if not isinstance(next_token, Mapping):
        return next_token(context)
    for key in (context, context[-1]):
        if key in next_token:
            return next_token[key]  # type: ignore[index]  # a table has keys of one kind; both are tried
    raise ConfigError(f"the table says nothing of what follows {context} or {context[-1]!r}.")


def _paid(reward: Reward, otherwise: float, eos: str) -> Callable[[str, tuple[str, ...]], float]:
    """Return the reward as a function of the prompt and the completion."""
    if not isinstance(reward, Mapping):
        return reward

    def pay(_: str, written: tuple[str, ...]) -> float:
        return reward.get(" ".join(written[:-1]), otherwise) if written[-1] == eos else otherwise

    return pay
