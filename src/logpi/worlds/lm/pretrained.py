"""`from_pretrained`: model and tokenizer of a folder or a hub name, as Hugging Face reads them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as hf_logging

from logpi.core.errors import ModelError
from logpi.worlds.lm import hub

__all__ = ["from_pretrained", "quiet"]

_WHAT_TO_GIVE = (
    "Give a folder with config.json, weights and tokenizer files, or a name on the Hugging Face "
    "hub."
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hugging Face without its progress bars, for as long as the context lasts."""
    shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            hf_logging.enable_progress_bar()


def from_pretrained(
    path: str | Path, *, dtype: str, attention: str | None = None, called: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The causal model and the tokenizer, neither of which runs code that comes with them.

    Where the hub cannot be reached, what an earlier run has stored of a hub name is read. `called`
    is what errors name instead of the path.

    Raises `ModelError` where there is no such model, where it is no causal one, or where it wants
    to run code of its own.
    """
    name = os.path.expanduser(path)
    source = name if _is_folder(name) else _on_hub(name)
    try:
        # Where trust_remote_code is unset, transformers asks at the terminal, and obeys.
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(
                source, dtype=dtype, attn_implementation=attention, trust_remote_code=False
            )
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(_refusal(called or name, str(error).strip(), attention)) from error
    return model, tokenizer


def _refusal(name: str, reason: str, attention: str | None) -> str:
    if "trust_remote_code" in reason:
        return (
            f"{name!r} wants to run Python code of its own, and logpi runs no code that comes with "
            "a model. Take a model whose architecture the transformers library has itself."
        )
    reason = reason.partition("\n")[0]
    if attention is not None and re.search("attention|attn|kernel", reason, re.IGNORECASE):
        return (
            f"{name!r} cannot be loaded with the attention {attention!r}: {reason.rstrip('.')}. "
            "Take another one, or leave it to the model: auto."
        )
    return (
        f"{name!r} cannot be loaded as a causal language model with its tokenizer: {reason} Give a "
        "folder with config.json, weights and tokenizer files of a causal model, or its hub name."
    )


def _is_folder(name: str) -> bool:
    """Whether this is a folder that is there, and not a name for the hub."""
    path = Path(name)
    if path.is_dir():
        return True
    if path.exists():
        raise ModelError(f"{name!r} is a file, not a model folder. {_WHAT_TO_GIVE}")
    if path.is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise ModelError(f"there is no model folder {name!r}. {_WHAT_TO_GIVE}")
    return False


def _on_hub(name: str) -> str:
    """The name, if the hub knows it; the folder where it is stored, if the hub does not answer."""
    absent = f"there is no folder {name!r} here, and "
    try:
        hub.ask("model", name)
    except hub.UnknownNameError as error:
        raise ModelError(f"{absent}{error}. {_WHAT_TO_GIVE}") from error
    except hub.UnreachableError as error:
        stored = try_to_load_from_cache(name, "config.json")
        if isinstance(stored, str):
            return str(Path(stored).parent)
        raise ModelError(f"{absent}{error}. {_WHAT_TO_GIVE}") from error
    return name
