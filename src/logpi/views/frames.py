"""Pictures to files: a film as .mp4 or .gif, and a strip of a few frames side by side as .png."""

from __future__ import annotations

import importlib
import importlib.util
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy import ndarray
from PIL import Image

from logpi.core.errors import ConfigError, RunError

__all__ = ["Few", "Film", "best_suffix", "check_film", "write_strip"]

_SUFFIXES = (".mp4", ".gif")
_GIF_WIDTH, _GIF_FPS = 360, 25  # a GIF holds every pixel: smaller and slower than a film
_STRIP_HEIGHT = 180


class _Encoder(Protocol):
    def write(self, frame: ndarray) -> None: ...

    def close(self) -> None: ...


class Film:
    """A film that is written frame by frame; it appears under its name when it is whole.

    A .gif is made smaller where it is wider than `width`. Raises `ConfigError` where `check_film`
    does, and `RunError` where the file cannot be written.

    >>> folder = Path(tempfile.mkdtemp())
    >>> with Film(folder / "two.gif", fps=10) as film:
    ...     for grey in (0, 255):
    ...         film.write(np.full((20, 30, 3), grey, dtype=np.uint8))
    >>> film.frames, (folder / "two.gif").is_file()
    (2, True)
    """

    def __init__(self, path: str | Path, *, fps: float, width: int = _GIF_WIDTH) -> None:
        self.path, self.frames = Path(path), 0
        suffix = check_film(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.path.parent, suffix=suffix, prefix=".tmp-")
        except OSError as error:
            raise RunError(
                f"the film `{path}` cannot be written: {error.strerror or error}."
            ) from error
        os.close(handle)
        self._temporary = Path(name)
        self._encoder: _Encoder = (
            _Mp4(self._temporary, fps)
            if suffix == ".mp4"
            else _Gif(self._temporary, fps, width=width)
        )

    def write(self, frame: ndarray) -> None:
        """Nothing; the frame [height, width, 3] is part of the film."""
        self._encoder.write(frame)
        self.frames += 1

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing; the film is there, unless something went wrong."""
        try:
            self._encoder.close()
            if kind is None and self.frames:
                self._temporary.chmod(0o644)
                self._temporary.replace(self.path)
        finally:
            self._temporary.unlink(missing_ok=True)


class _Mp4:
    """H.264 through ffmpeg, which comes with imageio-ffmpeg."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps = path, fps
        self._size: tuple[int, int] | None = None
        self._pipe: Any = None

    def write(self, frame: ndarray) -> None:
        even = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), "edge")
        if self._pipe is None:
            height, width = even.shape[:2]
            self._size = (width, height)
            self._pipe = importlib.import_module("imageio_ffmpeg").write_frames(
                str(self._path),
                self._size,
                fps=self._fps,
                macro_block_size=2,
                ffmpeg_log_level="error",
                output_params=["-movflags", "+faststart"],
            )
            self._pipe.send(None)
        if (even.shape[1], even.shape[0]) != self._size:
            raise ConfigError(
                f"a frame is {even.shape[1]} × {even.shape[0]}, and the film is {self._size}. "
                "An environment must keep the size of its pictures."
            )
        self._pipe.send(np.ascontiguousarray(even))

    def close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()


class _Gif:
    """A palette of 255 colours for each frame; frames left out where it is too fast."""

    def __init__(self, path: Path, fps: float, *, width: int) -> None:
        self._path, self._width = path, width
        self._every = max(1, round(fps / _GIF_FPS))
        self._milliseconds = 10 * max(2, round(100 * self._every / fps))  # browsers slow down below
        self._frames: list[Image.Image] = []
        self._seen = 0

    def write(self, frame: ndarray) -> None:
        if self._seen % self._every == 0:
            picture = Image.fromarray(frame)
            if picture.width > self._width:
                height = round(picture.height * self._width / picture.width)
                picture = picture.resize((self._width, height), Image.Resampling.BILINEAR)
            self._frames.append(picture.quantize(255, dither=Image.Dither.NONE))
        self._seen += 1

    def close(self) -> None:
        if self._frames:
            first, *others = self._frames
            with self._path.open("wb") as file:
                first.save(
                    file,
                    "GIF",
                    save_all=True,
                    append_images=others,
                    duration=self._milliseconds,
                    loop=0,
                )


class Few:
    """At most `most` of the frames that are seen, evenly spaced, however many there will be.

    >>> few = Few(4)
    >>> for k in range(100):
    ...     few.see(np.full((1, 1, 3), k, dtype=np.uint8))
    >>> [int(frame[0, 0, 0]) for frame in few.chosen()]
    [0, 32, 72, 99]
    """

    def __init__(self, most: int = 8) -> None:
        self._most, self._every, self._seen = most, 1, 0
        self._kept: list[ndarray] = []
        self._last: ndarray | None = None

    def see(self, frame: ndarray) -> None:
        """Nothing; the frame is kept if it is one of the evenly spaced ones."""
        if self._seen % self._every == 0:
            self._kept.append(frame)
        if len(self._kept) > 4 * self._most:  # twice as far apart, and so on
            self._kept, self._every = self._kept[::2], 2 * self._every
        self._last, self._seen = frame, self._seen + 1

    def chosen(self) -> list[ndarray]:
        """The frames, the first and the last among them."""
        if self._last is None:
            return []
        if self._last is not self._kept[-1]:
            self._kept.append(self._last)
        count = len(self._kept)
        if count <= self._most:
            return list(self._kept)
        return [self._kept[round(i * (count - 1) / (self._most - 1))] for i in range(self._most)]


def write_strip(frames: Sequence[ndarray], path: str | Path) -> Path:
    """The .png that was written: the frames side by side, from left to right.

    Raises `ConfigError` for another suffix, `RunError` where it cannot be written.

    >>> frames = [np.zeros((20, 30, 3), dtype=np.uint8)] * 3
    >>> write_strip(frames, Path(tempfile.mkdtemp()) / "strip.png").name
    'strip.png'
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise ConfigError(f"`{path}` is no name of a picture here. Let it end in .png.")
    pictures = list(_shrunk(frames))
    gap = 2
    width = sum(p.width for p in pictures) + gap * (len(pictures) - 1)
    strip = Image.new("RGB", (width, max(p.height for p in pictures)), "white")
    left = 0
    for picture in pictures:
        strip.paste(picture, (left, 0))
        left += picture.width + gap
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        strip.save(target, optimize=True)
    except OSError as error:
        raise RunError(f"`{path}` cannot be written: {error.strerror or error}.") from error
    return target


def best_suffix() -> str:
    """`.mp4` where its encoder is installed, else `.gif`.

    >>> best_suffix() in (".mp4", ".gif")
    True
    """
    return ".mp4" if importlib.util.find_spec("imageio_ffmpeg") else ".gif"


def check_film(path: str | Path) -> str:
    """The suffix of a film that can be written there: .gif, or .mp4.

    Raises `ConfigError` for any other, and for .mp4 where its encoder, the package imageio-ffmpeg,
    is missing.

    >>> check_film("values.gif")
    '.gif'
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ConfigError(
            f"`{path}` is no name of a film. Let it end in .mp4, or in .gif, which needs no "
            "encoder."
        )
    if suffix == ".mp4" and best_suffix() != ".mp4":
        raise ConfigError(
            f"`{path}` needs the package imageio-ffmpeg, which is not installed. `pip install "
            f"imageio-ffmpeg`, or name a .gif: {path.with_suffix('.gif').name}."
        )
    return suffix


def _shrunk(frames: Iterable[ndarray]) -> Iterable[Image.Image]:
    for frame in frames:
        picture = Image.fromarray(frame)
        if picture.height > _STRIP_HEIGHT:
            width = round(picture.width * _STRIP_HEIGHT / picture.height)
            picture = picture.resize((width, _STRIP_HEIGHT), Image.Resampling.BILINEAR)
        yield picture
