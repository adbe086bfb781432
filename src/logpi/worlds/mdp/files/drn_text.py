"""The text of a DRN file as arrays, read a chunk at a time.

DRN is Storm's explicit format. After a header, `@model` begins the states:

    state 0 [0] init            its number, a reward for each reward model, labels
        action a [1]            a name, and rewards again
            1 : 0.5             successor : probability
            2 : 0.5

A million states make a file of hundreds of megabytes, so a chunk's transitions and actions are
read all at once. Where one of them is not plain (a fraction, a placeholder, a mistake), all of that
chunk's are read one by one, which also finds the line.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import BinaryIO

import numpy as np
from numpy import ndarray

from logpi.core.errors import ModelError

__all__ = ["DrnText", "read_text"]

CHUNK = 1 << 24  # bytes
NEWLINE, SLASH, COLON = b"\n/:"
BLANKS = bytes.maketrans(b"[],", b"   ")
LABELS = re.compile(r'"([^"]+)"|([^\s"]+)')


@dataclass(slots=True)
class DrnText:
    """What a file says. Rows are the choices, in the file's order; `first` is where each begins."""

    kind: str = ""
    reward_models: tuple[str, ...] = ()
    declared_states: int = 0
    declared_rows: int | None = None
    placeholders: dict[str, float] = field(default_factory=dict[str, float])
    line: int = 0  # lines read so far
    state_rewards: list[float] = field(default_factory=list[float])
    labels: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    names: dict[str, int] = field(default_factory=dict[str, int])  # of actions, numbered
    first: list[ndarray] = field(default_factory=list[ndarray])
    row_state: list[ndarray] = field(default_factory=list[ndarray])
    row_name: list[int] = field(default_factory=list[int])
    row_rewards: list[float] = field(default_factory=list[float])
    successors: list[ndarray] = field(default_factory=list[ndarray])
    probabilities: list[ndarray] = field(default_factory=list[ndarray])
    transitions: int = 0
    begun: int = 0  # how many transitions there were when the last state or action began
    in_action: bool = False  # whether that was an action

    def number(self, text: str, line: int) -> float:
        """A decimal, a fraction, or a placeholder's."""
        text = text.strip()
        try:
            return float(text)
        except ValueError:
            pass
        if not text:
            raise ModelError(f"line {line}: it ends before its number; is the file truncated?")
        try:
            return self.placeholders[text] if text[:1] == "$" else float(Fraction(text))
        except (KeyError, ValueError, ZeroDivisionError):
            raise ModelError(
                f"line {line}: {text[:80]!r} is no number. (Models with parameters or intervals "
                "are not read.)"
            ) from None


def read_text(file: BinaryIO, reward: str | None) -> DrnText:
    r"""Everything in the file, with the rewards of one reward model.

    `reward` names it; it may be None where there is at most one.

    Raises `ModelError` with the line where the text is no DRN, or ends before its last state.

    >>> from io import BytesIO
    >>> text = b"@type: MDP\n@nr_states\n1\n@model\nstate 0 init\n\taction 0\n\t\t0 : 1\n"
    >>> read_text(BytesIO(text), None).labels
    {'init': [0]}
    """
    found = DrnText()
    _read_header(file, found)
    models = found.reward_models
    if (reward is None and len(models) > 1) or (reward is not None and reward not in models):
        raise ModelError(
            f"the file has the reward models {', '.join(models) or '(none)'}: "
            f"choose one with `reward=`{'' if reward is None else f', not {reward!r}'}."
        )
    column = models.index(reward) if reward is not None else 0
    for chunk in _chunks(file):
        _read_chunk(chunk, found, column)
    for what, count, declared in (
        ("states", len(found.state_rewards), found.declared_states),
        ("choices", len(found.row_name), found.declared_rows),
    ):
        if declared is not None and count != declared:
            raise ModelError(
                f"the file holds {count} {what}, but its header says {declared}: "
                f"{'it is truncated' if count < declared else 'one of them is wrong'}."
            )
    if found.transitions > found.begun and not found.in_action:
        raise ModelError("the transitions at the end belong to no action.")
    return found


# -- the header ------------------------------------------------------------------------------------


def _read_header(file: BinaryIO, found: DrnText) -> None:
    while raw := file.readline(CHUNK):
        found.line += 1
        line = raw.decode(errors="replace").strip()
        if not line or line.startswith("//"):
            continue
        if line == "@model":
            if not found.kind or not found.declared_states:
                raise ModelError("the header lacks `@type:` or `@nr_states` before `@model`.")
            return
        if not line.startswith("@"):
            raise ModelError(f"line {found.line}: this is no DRN file: it begins {line[:40]!r}.")
        _read_entry(file, found, line)
    raise ModelError("this is no DRN file, or it is truncated: it has no line `@model`.")


def _read_entry(file: BinaryIO, found: DrnText, line: str) -> None:
    def following() -> str:
        found.line += 1
        return file.readline(CHUNK).decode(errors="replace").strip()

    key, _, value = line.partition(":")
    if key == "@type":
        found.kind = value.strip().upper()
        if found.kind not in ("MDP", "DTMC"):
            raise ModelError(f"line {found.line}: the model is a {found.kind}, but must be an MDP.")
    elif key == "@parameters":
        if parameters := following():
            raise ModelError(f"line {found.line}: the model has parameters ({parameters[:40]}).")
    elif key == "@reward_models":
        found.reward_models = tuple(following().split())
    elif key in ("@nr_states", "@nr_choices"):
        text = following()
        if not text.isdecimal():
            raise ModelError(f"line {found.line}: {key} is {text[:40]!r}, but must be a number.")
        if key == "@nr_states":
            found.declared_states = int(text)
        else:
            found.declared_rows = int(text)
    elif key == "@placeholders":
        while file.peek(1)[:1] == b"$":  # pyright: ignore[reportAttributeAccessIssue] # buffered
            name, _, number = following().partition(":")
            found.placeholders[name.strip()] = found.number(number, found.line)
    elif key != "@value_type":
        raise ModelError(f"line {found.line}: {line[:40]!r} is no part of a DRN header.")


# -- the model -------------------------------------------------------------------------------------


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """The rest of the file in pieces that end with a line."""
    rest = b""
    while data := file.read(CHUNK):
        cut = data.rfind(b"\n") + 1
        if not cut:
            raise ModelError(f"a line is longer than {CHUNK} bytes: this is no DRN file.")
        yield rest + data[:cut]
        rest = data[cut:]
    if rest:
        yield rest + b"\n"


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines of one kind in a chunk."""

    chunk: bytes
    number: ndarray  # in the file, from 1
    begin: ndarray  # without what indents them
    end: ndarray
    chosen: ndarray  # which of the chunk's lines these are
    length: ndarray  # of each of the chunk's lines, newline and all

    def __len__(self) -> int:
        return len(self.number)

    def text(self) -> tuple[ndarray, ndarray]:
        """All their bytes, one line after another, and where each begins."""
        length = self.length[self.chosen]
        text = np.frombuffer(self.chunk, dtype=np.uint8)[np.repeat(self.chosen, self.length)]
        return text, np.cumsum(length) - length

    def words(self) -> Iterator[tuple[int, str]]:
        """Each line's number and text."""
        places = (x.tolist() for x in (self.number, self.begin, self.end))
        for number, begin, end in zip(*places, strict=True):
            try:
                yield number, self.chunk[begin:end].decode().rstrip()
            except UnicodeDecodeError:
                raise ModelError(f"line {number} is no text: the file is damaged.") from None


def _read_chunk(chunk: bytes, found: DrnText, column: int) -> None:
    text = np.frombuffer(chunk, dtype=np.uint8)
    end = np.flatnonzero(text == NEWLINE)
    begin = np.concatenate([[0], end[:-1] + 1])
    length = end - begin + 1
    indented = np.arange(len(begin))
    while len(indented):  # the newline stops every line
        letter = text[begin[indented]]
        indented = indented[(letter == 32) | (letter == 9) | (letter == 13)]
        begin[indented] += 1
    letter = text[begin]
    kinds = {
        "state": letter == ord("s"),
        "action": letter == ord("a"),
        "transition": (letter >= ord("0")) & (letter <= ord("9")),
        "other": ~np.isin(letter, [NEWLINE, SLASH, *b"sa0123456789"]),
    }
    first = found.line + 1
    lines = {
        kind: _Lines(chunk, first + np.flatnonzero(here), begin[here], end[here], here, length)
        for kind, here in kinds.items()
    }
    for number, words in lines["other"].words():
        raise ModelError(f"line {number}: {words[:60]!r} is no state, action or transition.")
    _follow(kinds, found)
    for number, words in lines["state"].words():
        _read_state(words, found, number, column)
    if len(lines["action"]):
        _read_actions(lines["action"], found, column)
    if len(lines["transition"]):
        successors, p = _transitions(lines["transition"], found)
        found.successors.append(successors)
        found.probabilities.append(p)
    found.line += len(end)


def _follow(kinds: dict[str, ndarray], found: DrnText) -> None:
    """Which state and which transitions each action has; transitions follow an action only."""
    before = found.transitions + np.cumsum(kinds["transition"])
    opening = np.flatnonzero(kinds["state"] | kinds["action"])
    counts = np.append(found.begun, before[opening])
    in_action = np.append(found.in_action, kinds["action"][opening])
    stray = np.flatnonzero((np.diff(counts) > 0) & ~in_action[:-1])
    if len(stray):
        line = found.line + 1 + int(opening[stray[0]])
        raise ModelError(f"before line {line}: a transition belongs to no action.")
    state = len(found.state_rewards) - 1 + np.cumsum(kinds["state"])
    here = np.flatnonzero(kinds["action"])
    if len(here) and state[here[0]] < 0:
        raise ModelError(f"line {found.line + 1 + here[0]}: an action comes before any state.")
    found.first.append(before[here])
    found.row_state.append(state[here])
    found.transitions = int(before[-1])
    found.begun, found.in_action = int(counts[-1]), bool(in_action[-1])


def _read_state(words: str, found: DrnText, line: int, column: int) -> None:
    keyword, _, rest = words.partition(" ")
    number, _, rest = rest.partition(" ")
    state = len(found.state_rewards)
    if keyword != "state" or number != str(state):
        raise ModelError(f"line {line}: expected `state {state}`, not {words[:60]!r}.")
    reward, rest = _reward(rest, found, line, column)
    found.state_rewards.append(reward)
    for quoted, plain in LABELS.findall(rest):
        found.labels.setdefault(quoted or plain, []).append(state)


def _reward(rest: str, found: DrnText, line: int, column: int) -> tuple[float, str]:
    """The reward of one model in "[r, r] labels", 0 where there are none, and what follows."""
    if not rest.startswith("["):
        return 0.0, rest
    inside, closed, rest = rest[1:].partition("]")
    given = inside.split(",")
    if not closed or column >= len(given):
        raise ModelError(f"line {line}: expected rewards in brackets, not {inside[:40]!r}.")
    return found.number(given[column], line), rest


def _read_actions(lines: _Lines, found: DrnText, column: int) -> None:
    width = 2 + len(found.reward_models)
    text = lines.text()[0].tobytes()
    words = text.translate(BLANKS).split() if text.count(b"[") == len(lines) else []
    names, rewards = [], []
    if len(words) == width * len(lines) and set(words[::width]) == {b"action"} and width > 2:
        try:
            rewards = list(map(float, words[2 + column :: width]))
            of = {name: name.decode() for name in set(words[1::width])}
            names = [of[name] for name in words[1::width]]
        except ValueError:  # a fraction, a placeholder, a mistake
            rewards = []
    if not rewards:
        names = []
        for number, line in lines.words():
            keyword, _, rest = line.partition(" ")
            name, _, rest = rest.partition(" ")
            if keyword != "action" or not name:
                raise ModelError(f"line {number}: expected `action NAME`, not {line[:60]!r}.")
            names.append(name)
            rewards.append(_reward(rest, found, number, column)[0])
    for name in dict.fromkeys(names):
        found.names.setdefault(name, len(found.names))
    found.row_name.extend(map(found.names.__getitem__, names))
    found.row_rewards.extend(rewards)


def _transitions(lines: _Lines, found: DrnText) -> tuple[ndarray, ndarray]:
    """Successors and probabilities."""
    plain = _plain_transitions(lines)
    if plain is not None:
        return plain
    successors, p = [], []
    for number, words in lines.words():
        successor, colon, value = words.partition(":")
        if not colon or not successor.strip().isdecimal():
            raise ModelError(
                f"line {number}: expected `successor : probability`, not {words[:60]!r}."
            )
        successors.append(int(successor))
        p.append(found.number(value, number))
    return np.array(successors, dtype=np.int64), np.array(p)


def _plain_transitions(lines: _Lines) -> tuple[ndarray, ndarray] | None:
    text, place = lines.text()
    colon = text == COLON
    blank = colon | (text <= 32)
    word = ~blank
    word[1:] &= blank[:-1]
    for mark, count in ((colon, 1), (word, 2)):
        if not (np.add.reduceat(mark, place, dtype=np.int64) == count).all():
            return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what NumPy cannot read, it only warns of
            text = np.where(colon, np.uint8(32), text).tobytes()
            numbers = np.fromstring(text, dtype=np.float64, sep=" ")
    except (ValueError, DeprecationWarning):
        return None
    if len(numbers) != 2 * len(lines) or not (numbers[::2] % 1 == 0).all():
        return None
    return numbers[::2].astype(np.int64), numbers[1::2].copy()
