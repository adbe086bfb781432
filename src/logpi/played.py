"""What a finished run's policy does: filmed in its environment, or written for other programs."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from logpi.core.errors import ConfigError, RunError
from logpi.views.frames import Few, Film, best_suffix, write_strip

if TYPE_CHECKING:
    from logpi.worlds.gym.policy import GymPolicy
    from logpi.worlds.gym.world import Gym

__all__ = ["FORMATS", "export", "film"]

FORMATS = {"onnx": ".onnx", "torchscript": ".pt"}
"""What an acting policy is written as, and how the file's name ends."""


def film(
    world: Gym,
    policy: GymPolicy,
    folder: Path,
    *,
    video: str | Path | None = None,
    strip: str | Path | None = None,
    episodes: int = 1,
    seed: int = 0,
    greedy: bool = True,
) -> list[dict[str, Any]]:
    """Seed, return, length and end of each episode, and the files: a film, and a strip of frames.

    Both go into the folder, where the report finds them, unless they are named; `episodes.json`
    says there what was played. Raises `ConfigError` where the environment cannot be drawn or a
    film cannot be encoded, or nothing is to be played, and `RunError` where a named file exists.
    """
    from logpi.worlds.gym import film as world_film  # noqa: PLC0415 - needs gymnasium

    _check_play(video, strip, episodes=episodes, seed=seed)
    path = folder / f"film{best_suffix()}" if video is None else Path(video)
    env, few, told = world_film.drawn(world.env, world.options), Few(), []
    with contextlib.closing(env), Film(path, fps=world_film.frames_a_second(env)) as out:
        for k in range(episodes):
            shown = world_film.Shown(seed=seed + k)
            for frame in world_film.episode(env, policy, shown, greedy=greedy):
                out.write(frame)
                if k == 0:
                    few.see(frame)
            told.append(shown.plain())
    picture = write_strip(few.chosen(), strip or folder / "strip.png")
    files = {"video": str(path), "strip": str(picture)}
    found = {"greedy": greedy, "episodes": told, **files}
    folder.mkdir(exist_ok=True)
    (folder / "episodes.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    return told


def _check_play(*files: str | Path | None, episodes: int, seed: int) -> None:
    if episodes < 1 or seed < 0:
        raise ConfigError(
            f"episodes is {episodes} and seed is {seed}. Play at least one episode, from a seed of "
            "at least 0."
        )
    for name in files:
        if name is not None:
            _refuse_existing(name)


def _refuse_existing(path: str | Path) -> None:
    if Path(path).exists():
        raise RunError(f"`{path}` already exists, and no file is overwritten. Give another name.")


def export(world: Gym, policy: GymPolicy, path: str | Path) -> Path:
    """The file, now holding the acting policy with its normaliser: .onnx, or .pt for TorchScript.

    Where the environments give action masks it reads them too. It was read again and acts as the
    policy does. Raises `ConfigError` for another name, or where the packages that write ONNX are
    missing, and `RunError` where the file exists.
    """
    from logpi.worlds.gym.export import save_onnx, save_torchscript  # noqa: PLC0415 - needs gymnasium

    target = Path(path)
    if target.suffix not in FORMATS.values():
        raise ConfigError(
            f"`{path}` is no name for an acting policy: let it end in .onnx, or in .pt for "
            "TorchScript."
        )
    _refuse_existing(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"`{path}` cannot be written: {error.strerror or error}.") from error
    write = save_onnx if target.suffix == ".onnx" else save_torchscript
    try:
        return write(policy, target, masked=world.gives_masks())
    except BaseException:
        target.unlink(missing_ok=True)  # what does not act alike must not be found
        raise
