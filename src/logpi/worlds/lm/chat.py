"""Conversations as data: lists of {role, content}, written out by the tokenizer's chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from logpi.core.errors import DataError
from logpi.core.nearest import did_you_mean

__all__ = ["answer_of", "completion_of", "conversation", "prompt_of"]

_ROLES = ("system", "user", "assistant", "tool", "developer")


def conversation(place: str, row: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the row with the prompt, and the completion, that its conversation holds.

    `messages` is the prompt; in demonstrations its last message is the completion. In pairs,
    `chosen` and `rejected` may be whole conversations that differ in their last message.

    >>> talk = [{"role": "user", "content": "1+1="}, {"role": "assistant", "content": "2"}]
    >>> conversation("x:1", {"messages": talk}, "demonstrations")["completion"][0]["content"]
    '2'
    """
    row = dict(row)
    if "messages" in row:
        if "prompt" in row:
            raise DataError(f"{place}: column 'messages': stands beside `prompt`. Keep one.")
        messages = _checked(place, "messages", row.pop("messages"))
        if kind == "demonstrations":
            if "completion" in row:
                raise DataError(
                    f"{place}: column 'messages': stands beside `completion`. Keep one."
                )
            if messages[-1]["role"] != "assistant":
                raise DataError(
                    f"{place}: column 'messages': the last message is by {messages[-1]['role']!r}, "
                    "but a demonstration ends with the assistant's."
                )
            messages, row["completion"] = messages[:-1], messages[-1:]
        row["prompt"] = messages
        if not messages:
            raise DataError(f"{place}: column 'messages': nothing stands before the completion.")
    if kind == "pairs" and "prompt" not in row:
        chosen = _checked(place, "chosen", row["chosen"])
        rejected = _checked(place, "rejected", row["rejected"])
        if chosen[:-1] != rejected[:-1] or len(chosen) < 2:
            raise DataError(
                f"{place}: column 'prompt': missing, and `chosen` and `rejected` are no "
                "conversations that share all but their last message."
            )
        row |= {"prompt": chosen[:-1], "chosen": chosen[-1:], "rejected": rejected[-1:]}
    return row


def prompt_of(
    place: str, messages: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase | None
) -> str:
    """Return the messages as the template writes them, up to where the assistant begins."""
    return _written(place, _checked(place, "prompt", messages), tokenizer, open_turn=True)


def answer_of(
    place: str,
    name: str,
    value: str | Sequence[Mapping[str, Any]],
    *,
    prompt: Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase | None,
) -> str:
    """Return what the template writes after the prompt where the assistant answers `value`.

    With it come the marks that end the turn: they are decisions of the model too.
    """
    answer = [{"role": "assistant", "content": value}] if isinstance(value, str) else value
    completion_of(place, name, answer)
    before = prompt_of(place, prompt, tokenizer)
    whole = _written(place, [*prompt, *answer], tokenizer, open_turn=False)
    if not whole.startswith(before):
        raise DataError(
            f"{place}: column '{name}': the chat template rewrites earlier turns once the "
            "assistant has answered, so the conversation does not begin with its prompt. Write "
            "prompt and completion as texts, or give the tokenizer another template."
        )
    return whole[len(before) :]


def _written(
    place: str,
    messages: Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    open_turn: bool,
) -> str:
    if tokenizer is None or not tokenizer.chat_template:
        raise DataError(
            f"{place}: column 'prompt': is a conversation, but the tokenizer has no chat template. "
            "Take a chat model, or write the prompt as a text."
        )
    try:
        return str(
            tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=open_turn,
            )
        )
    except Exception as error:  # templates raise what they like: wrong order of roles, and so on
        raise DataError(f"{place}: the chat template refuses the conversation: {error}") from error


def completion_of(place: str, name: str, messages: Sequence[Mapping[str, Any]]) -> str:
    """Return what the assistant said in its one message.

    >>> completion_of("x:1", "chosen", [{"role": "assistant", "content": "2"}])
    '2'
    """
    checked = _checked(place, name, messages)
    if len(checked) != 1 or checked[0]["role"] != "assistant":
        roles = ", ".join(message["role"] for message in checked)
        raise DataError(
            f"{place}: column '{name}': holds messages by {roles}, but after the prompt one "
            "message by the assistant is expected."
        )
    return checked[0]["content"]


def _checked(place: str, name: str, messages: Any) -> list[dict[str, Any]]:
    if not isinstance(messages, list) or not messages:
        raise DataError(
            f"{place}: column '{name}': is {str(messages)[:40]!r}, not a list of messages such as "
            '[{"role": "user", "content": "..."}].'
        )
    for number, message in enumerate(messages):
        told = f"{place}: column '{name}': message {number}"
        if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
            raise DataError(f"{told} is no object with `role` and `content`.")
        role, content = message["role"], message["content"]
        if role not in _ROLES:
            near = did_you_mean(str(role), _ROLES)
            raise DataError(f"{told} is by {role!r}.{near} Roles are {', '.join(_ROLES)}.")
        if not isinstance(content, str) or not content.strip():
            raise DataError(f"{told} has no text.")
    return [dict(message) for message in messages]
