"""What `logpi play` left in a run's folder, as a page can hold it: pictures inside the page."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Filmed", "filmed"]

_MOST = 12_000_000  # bytes of a film that a page still holds
_KINDS = {".mp4": "video/mp4", ".gif": "image/gif", ".png": "image/png"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filmed:
    """A film and a strip as data addresses, empty where there is none, and what was played."""

    film: str
    moving: bool  # the film is a video, not a picture
    strip: str
    episodes: tuple[dict[str, Any], ...]


def filmed(directory: Path) -> Filmed | None:
    """What there is below play/ in the run's folder; None where nothing was played.

    >>> filmed(Path("nowhere")) is None
    True
    """
    folder = directory / "play"
    films = [p for p in (folder / "film.mp4", folder / "film.gif") if p.is_file()]
    newest = max(films, key=lambda p: p.stat().st_mtime, default=None)
    film = _address(newest) if newest is not None else ""
    strip = _address(folder / "strip.png")
    if not film and not strip:
        return None
    moving = film.startswith("data:video")
    return Filmed(film=film, moving=moving, strip=strip, episodes=_episodes(folder))


def _address(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > _MOST:
        return ""
    text = base64.b64encode(path.read_bytes()).decode()
    return f"data:{_KINDS[path.suffix]};base64,{text}"


def _episodes(folder: Path) -> tuple[dict[str, Any], ...]:
    try:
        told = json.loads((folder / "episodes.json").read_text(encoding="utf-8"))["episodes"]
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    keys = ("seed", "return", "length", "ended")
    return tuple(
        {k: e[k] for k in keys}
        for e in told
        if isinstance(e, dict)
        and all(isinstance(e.get(k), int | float) for k in keys[:3])
        and e.get("ended") in ("terminated", "truncated", "running")
    )
