"""Small language models as MDPs, on which estimators can be told apart by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from logpi.worlds.mdp.model import FiniteMDP
from logpi.worlds.mdp.zoo.tables import check_at_least, check_probability
from logpi.worlds.mdp.zoo.tokens import EOS, tokens

__all__ = ["tokens_capital", "tokens_choice", "tokens_lengths"]


def tokens_capital(
    *,
    prompt: str = "France:",
    sentence: Sequence[str] = ("The", "capital", "of", "France", "is"),
    cities: Mapping[str, float] | None = None,
    right: Sequence[str] = ("Paris",),
    r_right: float = 10.0,
    r_wrong: float = -10.0,
    discount: float = 1.0,
) -> FiniteMDP:
    """Return "The capital of France is" Paris (.9), Lyon (.08) or Marseille (.02): one real choice.

    The five tokens of the sentence are forced, then comes the city, then <eos>. Paris earns 10,
    another city −10. Before the city v = 8 and nothing can change that, yet REINFORCE gives each of
    those tokens a weight of mean 8 and variance 36; the city's true advantages are 2, −18, −18.
    It is the model that `logpi demo` trains, as an MDP.

    >>> m = tokens_capital()
    >>> m.policy[5, 5:8], m.reward[6:9].max(1, where=m.allowed[6:9], initial=-99)
    (array([0.9 , 0.08, 0.02]), array([ 10., -10., -10.]))
    """
    named = {"Paris": 0.9, "Lyon": 0.08, "Marseille": 0.02} if cities is None else cities
    follows: dict[tuple[str, ...], Mapping[str, float]] = {}
    context = (prompt,)
    for word in sentence:
        follows[context] = {word: 1.0}
        context = (*context, word)
    follows[context] = named
    follows |= {(*context, city): {EOS: 1.0} for city in named}
    return tokens(
        (*dict.fromkeys((*sentence, *named)), EOS),
        next_token=follows,
        reward={" ".join((*sentence, city)): r_right for city in right},
        otherwise=r_wrong,
        length=len(sentence) + 2,
        prompts=[prompt],
        discount=discount,
    ).having(name="tokens/capital")


def tokens_lengths(
    *,
    length: int = 6,
    p_think: float = 0.5,
    right_by_thinking: float = 0.8,
    right_by_guessing: float = 0.3,
    discount: float = 1.0,
) -> FiniteMDP:
    """Return a model that guesses or thinks: the longer it thinks, the more often it is right.

    At each step but the last two it may write "think"; then it writes "right" or "wrong", and
    <eos>. After n thoughts the answer is right with probability g + (t − g)·(1 − 2⁻ⁿ), g by
    guessing and t by thinking. Right earns 1, wrong 0, so reward and length correlate: what divides
    by the length of a completion, or by the spread within a group, turns the gradient here.

    >>> tokens_lengths(length=3).layout.states[:3]
    ('Q:', 'Q: think', 'Q: right')
    """
    check_at_least(length=(length, 2))
    check_probability(p_think=p_think, right=right_by_thinking, guess=right_by_guessing)

    def follows(context: tuple[str, ...]) -> dict[str, float]:
        if context[-1] in ("right", "wrong"):
            return {EOS: 1.0}
        thoughts = len(context) - 1
        more = p_think if thoughts < length - 2 else 0.0
        right = right_by_guessing + (right_by_thinking - right_by_guessing) * (1 - 0.5**thoughts)
        answer = {"right": (1 - more) * right, "wrong": (1 - more) * (1 - right)}
        return {"think": more, **answer}

    def reward(_: str, written: tuple[str, ...]) -> float:
        return float("right" in written)

    words = ("think", "right", "wrong", EOS)
    m = tokens(
        words, next_token=follows, reward=reward, length=length, prompts=["Q:"], discount=discount
    )
    return m.having(name="tokens/lengths")


def tokens_choice(
    *,
    p_short: float = 0.5,
    short: int = 1,
    long: int = 4,
    r_short: float = 1.0,
    r_long: float = 0.0,
    discount: float = 1.0,
) -> FiniteMDP:
    """Return a model that answers in a few words or in many: one choice, then forced tokens.

    The first token chooses; "yes" is followed by `short` − 1 forced tokens, "well" by `long` − 1,
    and then by <eos>. With the defaults the short answer earns 1 and the long one 0, so the reward
    falls with the length. v = p_short·r_short + (1 − p_short)·r_long, and all but the first token
    have advantage 0.

    >>> m = tokens_choice()
    >>> m.policy[0], m.states
    (array([0.5, 0.5, 0. , 0. ]), 7)
    """
    check_at_least(short=(short, 1), long=(long, 1))
    check_probability(p_short=p_short)
    follows: dict[tuple[str, ...], Mapping[str, float]] = {
        ("Q:",): {"yes": p_short, "well": 1 - p_short}
    }
    paid = {}
    for first, size, earned in (("yes", short, r_short), ("well", long, r_long)):
        answer = (first, *["so"] * (size - 1), EOS)
        for i in range(1, len(answer)):
            follows[("Q:", *answer[:i])] = {answer[i]: 1.0}
        paid[" ".join(answer[:-1])] = earned
    words = ("yes", "well", "so", EOS)
    size = max(short, long) + 1
    m = tokens(
        words, next_token=follows, reward=paid, length=size, prompts=["Q:"], discount=discount
    )
    return m.having(name="tokens/choice")
