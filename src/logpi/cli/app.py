"""`main`: one command, one exit code.

0    done
1    the run failed: a reward, an environment, a gradient, a disk
2    bad input: nothing was started
130  interrupted (Ctrl-C), 143 terminated (SIGTERM): go on from the newest checkpoint
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper

from logpi.cli.parser import build, parse

__all__ = ["main"]

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of `logpi` with these arguments."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a terminal without UTF-8 still gets an answer
    given = parse(sys.argv[1:] if argv is None else argv)
    if given.command is None:
        build().print_help()
        return 0
    try:
        code = importlib.import_module(f"logpi.cli.{given.command}").run(given)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `logpi show demo --all | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if given.debug:
            traceback.print_exc()
        print(_paragraph(error, debug=given.debug), file=sys.stderr)
        return _code(error)


def _paragraph(error: Exception, *, debug: bool) -> str:
    from logpi.core.errors import LogpiError  # noqa: PLC0415 - comes with torch, which --help must not load

    message = " ".join(str(error).split())
    if isinstance(error, LogpiError | OSError) or debug:
        return f"{type(error).__name__}: {message}"
    return (
        f"{type(error).__name__}: {message or 'no message'}. logpi did not expect this: "
        "run the command again with --debug for the traceback."
    )


def _code(error: Exception) -> int:
    from logpi.core.errors import (  # noqa: PLC0415 - as above
        EnvironmentFailure,
        LogpiError,
        NonFiniteError,
        RewardError,
        RunError,
    )

    ran = NonFiniteError | RewardError | EnvironmentFailure
    if isinstance(error, ran) or not isinstance(error, LogpiError):
        return FAILED
    if isinstance(error, RunError) and isinstance(error.__cause__, OSError):
        return FAILED  # a disk that is full, not a name that is wrong
    return BAD_INPUT
