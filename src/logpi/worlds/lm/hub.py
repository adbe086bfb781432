"""Whether the Hugging Face hub knows a name: asked once, and answered within seconds."""

from __future__ import annotations

from typing import Literal

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

__all__ = ["UnknownNameError", "UnreachableError", "ask"]

_PATIENCE = 3.0  # seconds that the hub has to say whether it knows a name


class UnknownNameError(Exception):
    """The hub has nothing of this name, or can have nothing."""


class UnreachableError(Exception):
    """The hub does not answer."""


def ask(kind: Literal["model", "data set"], name: str) -> None:
    """Nothing, where the hub knows the name, or answers, if not to this question.

    Hugging Face's own libraries repeat the question for most of a minute where nobody answers.

    Raises `UnknownNameError` or `UnreachableError`, with half a sentence that says why.
    """
    api = HfApi()
    known = api.model_info if kind == "model" else api.dataset_info
    try:
        known(name, timeout=_PATIENCE)
    except RepositoryNotFoundError as error:
        raise UnknownNameError(f"the Hugging Face hub shows no {kind} of this name") from error
    except HFValidationError as error:
        raise UnknownNameError("no hub name looks like this") from error
    except HfHubHTTPError:
        return
    except Exception as error:  # offline: each version raises what its network library does
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise UnreachableError(f"the Hugging Face hub cannot be reached: {reason}") from error
