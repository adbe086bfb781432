"""`from_pretrained`: model and tokenizer of a folder or a hub name, as Hugging Face reads them."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as hf_logging

from logpi.core.errors import ModelError
from logpi.worlds.lm import hub

__all__ = ["from_pretrained", "quiet", "say_once"]

_WHAT_TO_GIVE = (
    "Give a folder with config.json, weights and tokenizer files, or a name on the Hugging Face "
    "hub."
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hugging Face without its progress bars and reports, for as long as the context lasts."""
    shown, level = hf_logging.is_progress_bar_enabled(), hf_logging.get_verbosity()
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity_error()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if shown:
            hf_logging.enable_progress_bar()


def from_pretrained(
    path: str | Path, *, dtype: str, attention: str | None = None, called: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The causal model and the tokenizer, neither of which runs code that comes with them.

    Where the hub cannot be reached, what an earlier run has stored of a hub name is read. `called`
    is what errors name instead of the path.

    Raises `ModelError` where there is no such model, where it is no causal one, where it wants to
    run code of its own, or where its files do not hold every weight that its configuration has:
    transformers would draw those at random. What they hold beyond that is named on stderr.
    """
    name = os.path.expanduser(path)
    source = name if _is_folder(name) else _on_hub(name)
    try:
        # Where trust_remote_code is unset, transformers asks at the terminal, and obeys.
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        with quiet():
            found: Any = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=dtype,
                attn_implementation=attention,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below, by name
            )
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(_refusal(called or name, str(error).strip(), attention)) from error
    except Exception as error:  # each format has errors of its own for a damaged file
        torn = ", ".join(_torn(Path(source))) or "a file of its weights"
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise ModelError(
            f"{called or name!r} cannot be loaded: {torn} is torn or damaged ({reason}). Copy or "
            "download the model again."
        ) from error
    model, told = found
    _check_weights(called or name, told)
    return model, tokenizer


def _torn(folder: Path) -> Iterator[str]:
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError:
            yield file.name


def _check_weights(name: str, told: Mapping[str, Any]) -> None:
    """Raise `ModelError` where transformers made a weight up; say which ones it left out."""
    sizes = {key: (list(held), list(made)) for key, held, made in sorted(told["mismatched_keys"])}
    absent = sorted({*told["missing_keys"]} - sizes.keys())
    why = [f"`{key}` is not in them" for key in absent]
    why += [f"`{key}` is {held} in them and {made} in it" for key, (held, made) in sizes.items()]
    if why:
        more = f", and {len(why) - 3} weights more" if len(why) > 3 else ""
        raise ModelError(
            f"the weight files of {name!r} do not fit its config.json: {', '.join(why[:3])}{more}. "
            "They would be made up at random. Give a folder whose weights and config.json were "
            "saved together, by `save_pretrained`."
        )
    if extra := sorted(told["unexpected_keys"]):
        say_once(
            f"logpi: {name!r} holds weights that the model has no place for ({len(extra)} in all, "
            f"such as `{extra[0]}`). They are left out."
        )


@functools.cache
def say_once(line: str) -> None:
    """Nothing; the line stands on stderr, once: a run loads its model for several purposes.

    >>> say_once("")
    """
    print(line, file=sys.stderr)


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
