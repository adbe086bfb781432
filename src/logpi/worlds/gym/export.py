"""A trained policy in files: as logpi loads it, and as others run it.

`save` writes weights, statistics of the normaliser and a description, and `load` brings the policy
back. `save_torchscript` and `save_onnx` write the acting policy: from observations [n, *shape], as
`observations_of` brings them there, to the likeliest actions as the environment takes them; where
it says in masks [n, A] what is allowed, these are a second input.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from logpi.core.errors import ConfigError, ModelError
from logpi.worlds.gym.normalise import Normaliser
from logpi.worlds.gym.policy import GymPolicy
from logpi.worlds.gym.spaces import Actions, Observations

__all__ = ["Acting", "load", "save", "save_onnx", "save_torchscript"]

_FORMAT = 1
_CHECKED = 64  # observations for which an exported policy must act as the live one does


class Acting(nn.Module):
    """A policy's likeliest actions, as the environment takes them: one function, no choices."""

    def __init__(self, policy: GymPolicy) -> None:
        super().__init__()
        self.reading, self.net, self.head = policy.reading, policy.net, policy.head
        self.action_shape = list(policy.actions.shape)

    def forward(self, observation: Tensor, action_mask: Tensor | None = None) -> Tensor:
        """Actions [n, ...] of observations [n, *shape], of those that masks [n, A] allow."""
        d = self.head.distribution(self.net(self.reading(observation)), action_mask)
        action = self.head.to_env(self.head.mode(d))
        return action.reshape([-1, *self.action_shape])


def save(policy: GymPolicy, folder: str | Path) -> Path:
    """The folder, now holding the policy: `policy.safetensors` and `config.json`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {n: x.detach().cpu().contiguous() for n, x in policy.state_dict().items()}
    save_file(tensors, folder / "policy.safetensors")
    told = json.dumps(_told(policy), indent=1, allow_nan=False)
    (folder / "config.json").write_text(told + "\n", encoding="utf-8")
    return folder


_UNREADABLE = (OSError, KeyError, TypeError, json.JSONDecodeError, RuntimeError, SafetensorError)


def load(
    folder: str | Path, *, observation_space: Any = None, net: nn.Module | None = None
) -> GymPolicy:
    """The policy that was saved, in evaluation mode.

    `observation_space` lets `act` read observations as the environment gives them where they are no
    plain arrays. A policy with a net of one's own needs a `net` built in the same way: only weights
    are stored. Raises `ModelError` where the folder holds no such policy, and `ConfigError` where
    the net is missing.
    """
    folder = Path(folder)
    try:
        told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        policy = _built(told, observation_space, net)
        tensors = load_file(folder / "policy.safetensors")
        policy.load_state_dict(tensors)
    except _UNREADABLE as error:
        raise ModelError(
            f"{folder} holds no policy of a Gymnasium environment that could be read "
            f"({type(error).__name__}: {error}). Give the folder that a run's export wrote, with "
            "config.json and policy.safetensors."
        ) from error
    return policy.eval()


def save_torchscript(policy: GymPolicy, path: str | Path, *, masked: bool = False) -> Path:
    """The path, now holding the acting policy as TorchScript: `torch.jit.load` runs it.

    A `masked` one also reads which actions are allowed. Raises `ModelError` where it does not act
    as the policy does.
    """
    path, acting, shown = _prepared(policy, path, masked=masked)
    with warnings.catch_warnings():
        # torch prefers torch.export for new work; TorchScript is what C++ programs load.
        warnings.simplefilter("ignore", DeprecationWarning)
        # What the tracer fears is checked below.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # pyright: ignore[reportPrivateImportUsage] # documented, yet not exported
        traced = torch.jit.trace(acting, _few(shown), check_trace=False)
        assert isinstance(traced, torch.jit.ScriptModule)
        traced.save(str(path))
        again = torch.jit.load(str(path))
    _check_equal(policy, lambda *x: again(*map(torch.from_numpy, x)).numpy(), shown, str(path))
    return path


def save_onnx(policy: GymPolicy, path: str | Path, *, masked: bool = False) -> Path:
    """The path, now holding the acting policy as ONNX: `observation` to `action`, any n.

    A `masked` one also reads `action_mask`. Raises `ConfigError` where the packages that write and
    run ONNX are missing, and `ModelError` where it does not act as the policy does.
    """
    missing = [m for m in ("onnx", "onnxscript", "onnxruntime") if not importlib.util.find_spec(m)]
    if missing:
        raise ConfigError(
            f"writing ONNX needs {', '.join(missing)}, which this Python does not have. "
            f"`pip install {' '.join(missing)}`, or write TorchScript, which needs none."
        )
    import onnxruntime  # noqa: PLC0415  # pyright: ignore[reportMissingImports]  # optional

    path, acting, shown = _prepared(policy, path, masked=masked)
    names = ("observation", "action_mask")[: len(shown)]
    with warnings.catch_warnings(), _hushed("torch.onnx"):
        warnings.simplefilter("ignore")  # the exporter warns of its own parts
        torch.onnx.export(
            acting,
            _few(shown),
            str(path),
            input_names=list(names),
            output_names=["action"],
            dynamic_shapes=({0: torch.export.Dim("n")},) * len(shown),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(*x: ndarray) -> ndarray:
        return np.asarray(session.run(None, dict(zip(names, x, strict=True)))[0])

    _check_equal(policy, run, shown, str(path))
    return path


@contextlib.contextmanager
def _hushed(name: str) -> Iterator[None]:
    """Let this logger and those below it say nothing but errors."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _prepared(
    policy: GymPolicy, path: str | Path, *, masked: bool
) -> tuple[Path, Acting, tuple[ndarray, ...]]:
    """The path, what is to be written there, and what it is tried with."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    twin = policy.copy().cpu()
    rng = np.random.default_rng(0)
    shape = (_CHECKED, *policy.shape)
    shown = rng.standard_normal(shape)
    if policy.normaliser is not None:  # as the environment shows them, not as the net reads them
        moments = policy.normaliser.moments
        shown = moments.mean.cpu().numpy() + shown * np.sqrt(moments.var.cpu().numpy())
    shown = shown.astype(np.float32)
    if policy.image:
        shown = rng.integers(0, 256, shape).astype(np.uint8)
    if not masked:
        return path, Acting(twin), (shown,)
    allowed = rng.random((_CHECKED, policy.actions.choices)) < 0.5
    allowed[:, np.cumsum([0, *policy.actions.sizes[:-1]])] = True  # something of each choice
    return path, Acting(twin), (shown, allowed)


def _few(shown: tuple[ndarray, ...]) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(x[:2]) for x in shown)


def _check_equal(
    policy: GymPolicy, exported: Callable[..., ndarray], shown: tuple[ndarray, ...], what: str
) -> None:
    sampler = policy.sampler()
    wanted = policy.to_env(sampler.mode(*shown)).astype(np.float64)
    found = np.asarray(exported(*shown), dtype=np.float64)
    close = found.shape == wanted.shape and np.allclose(found, wanted, rtol=1e-4, atol=1e-5)
    one = np.asarray(exported(*(x[:1] for x in shown)), dtype=np.float64)
    if not (close and np.allclose(one, wanted[:1], rtol=1e-4, atol=1e-5)):
        raise ModelError(
            f"{what} does not act as the policy that it was written from, so do not use it. A net "
            "of one's own whose operations depend on values or on the number of observations "
            "cannot be written; rewrite its forward without them."
        )


def _told(policy: GymPolicy) -> dict[str, Any]:
    a, normaliser = policy.actions, policy.normaliser
    bounds = {"low": a.low, "high": a.high}
    return {
        "format": _FORMAT,
        "observation": {"shape": list(policy.shape), "image": policy.image},
        "action": {
            "kind": a.kind,
            "sizes": list(a.sizes),
            "shape": list(a.shape),
            "first": list(a.first),
            **{k: None if x is None else [_finite(v) for v in x] for k, x in bounds.items()},
        },
        "options": policy.options,
        "normaliser": None if normaliser is None else {"clip": normaliser.clip},
        "dtype": str(policy.reading.unit.dtype).removeprefix("torch."),
    }


def _built(told: dict[str, Any], observation_space: Any, net: nn.Module | None) -> GymPolicy:
    if told["format"] != _FORMAT:
        raise ModelError(
            f"config.json is of format {told['format']}, and this logpi reads {_FORMAT}."
        )
    options, a, seen = dict(told["options"]), told["action"], told["observation"]
    options["net"] = options["net"] or net
    if options["net"] is None:
        raise ConfigError(
            "this policy has a net of one's own, of which only the weights are stored. "
            "Give `net`, built as it was for training."
        )
    shape = tuple(seen["shape"])
    dtype = {"float32": torch.float32, "float64": torch.float64}[told["dtype"]]
    kept = told["normaliser"]
    normaliser = None if kept is None else Normaliser(shape, clip=kept["clip"], dtype=dtype)
    actions = Actions(
        a["kind"],
        tuple(a["sizes"]),
        _bounds(a["low"], -math.inf),
        _bounds(a["high"], math.inf),
        shape=tuple(a["shape"]),
        first=tuple(a["first"]),
    )
    flat = Observations(shape, seen["image"], lambda x, n: np.asarray(x).reshape(n, *shape))
    space = flat if observation_space is None else observation_space
    return GymPolicy(space, actions, normaliser=normaliser, dtype=dtype, **options)


def _finite(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None


def _bounds(x: list[float | None] | None, unbounded: float) -> ndarray | None:
    return None if x is None else np.array([unbounded if v is None else v for v in x], np.float32)
