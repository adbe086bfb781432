"""Options of the commands that use finished runs, and the pieces that several commands share."""

from __future__ import annotations

import argparse
import textwrap

__all__ = [
    "as_json",
    "best",
    "compare",
    "count",
    "examples",
    "export",
    "play",
    "run",
    "seed",
    "tune",
]


def examples(*lines: str) -> str:
    r"""The last part of a command's help: commands to copy, a long one over two lines.

    >>> examples("recipes")
    'examples:\n  logpi recipes'
    """
    broken = [textwrap.wrap(line, _WIDTH, break_on_hyphens=False) for line in lines]
    return "examples:\n" + "\n".join("  logpi " + " \\\n    ".join(line) for line in broken)


_WIDTH = 80 - len("  logpi ") - len(" \\")


def count(text: str) -> int:
    """A whole number of at least 1.

    >>> count("3")
    3
    """
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a count: give a whole number of at least 1"
        )
    return number


def seed(text: str) -> int:
    """A whole number of at least 0.

    >>> seed("0")
    0
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a seed: give a whole number of at least 0"
        )
    return int(text)


def run(p: argparse.ArgumentParser) -> None:
    """Nothing; the command reads one run."""
    p.add_argument("run", metavar="RUN", help="a run's folder, or its name below runs/")


def best(p: argparse.ArgumentParser, what: str = "policy") -> None:
    """Nothing; the command may take the best policy, or model, instead of the last.

    >>> p = argparse.ArgumentParser()
    >>> best(p, "model")
    >>> p.parse_args(["--best"])
    Namespace(best=True)
    """
    p.add_argument(
        "--best", action="store_true", help=f"the best evaluated {what} (evaluate.keep_best)"
    )


def as_json(p: argparse.ArgumentParser) -> None:
    """Nothing; the command may print JSON.

    >>> p = argparse.ArgumentParser()
    >>> as_json(p)
    >>> p.parse_args([])
    Namespace(json=False)
    """
    p.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def play(p: argparse.ArgumentParser) -> None:
    """Nothing; the options of `logpi play`."""
    run(p)
    p.add_argument(
        "--video", metavar="FILE", help="the film: .mp4 or .gif (default: RUN/play/film.*)"
    )
    p.add_argument(
        "--frames", metavar="FILE.png", help="a strip of frames (default: RUN/play/strip.png)"
    )
    p.add_argument("--episodes", type=count, default=1, metavar="N", help="default: 1")
    p.add_argument("--seed", type=seed, default=0, help="of the first episode's reset (default: 0)")
    p.add_argument("--sample", action="store_true", help="draw actions; else the likeliest")
    best(p)
    as_json(p)
    p.epilog = examples(
        "play cartpole",
        "play cartpole --video cartpole.mp4 --episodes 3 --seed 1",
        "play runs/cartpole --video cartpole.gif --frames strip.png",
    )


def export(p: argparse.ArgumentParser) -> None:
    """Nothing; the options of `logpi export`."""
    run(p)
    p.add_argument(
        "--format", choices=("onnx", "torchscript"), default="onnx", help="default: onnx"
    )
    p.add_argument("--out", metavar="FILE", help="default: RUN/model/policy.onnx or policy.pt")
    best(p)
    p.epilog = examples("export cartpole", "export cartpole --format torchscript --out policy.pt")


def compare(p: argparse.ArgumentParser) -> None:
    """Nothing; the options of `logpi compare`."""
    p.add_argument(
        "runs", nargs="+", metavar="RUN", help="runs, or folders of runs such as runs/ppo-seeds"
    )
    p.add_argument("--metric", metavar="NAME", help="default: evaluated return or reward, ...")
    p.add_argument(
        "--over", choices=("steps", "iterations", "seconds"), help="the axis (default: steps)"
    )
    p.add_argument(
        "--by",
        choices=("config", "recipe"),
        default="config",
        help="what makes a group: equal settings but the seed (default), or the recipe alone",
    )
    p.add_argument(
        "--out",
        action="append",
        default=[],
        metavar="FILE",
        help="a picture .png or .svg, or a page .html; may be repeated",
    )
    as_json(p)
    p.epilog = examples(
        "compare runs/ppo-* runs/a2c-*",
        "compare runs/ppo-* runs/a2c-* --metric return --by recipe --out curves.png",
        "compare runs --out comparison.html --json",
    )


def tune(p: argparse.ArgumentParser) -> None:
    """Nothing; the options of `logpi tune`."""
    p.usage = "logpi tune RECIPE|PRESET|FILE.yaml key=range ... [key=value] [options]"
    p.add_argument(
        "words",
        nargs="*",
        metavar="RECIPE|PRESET|FILE.yaml",
        help="what to train, then ranges (0.9..0.9999, log:1e-5..1e-2, 1..8, choice:a,b) and "
        "overrides",
    )
    p.add_argument("--trials", type=count, default=20, metavar="N", help="in all (default: 20)")
    p.add_argument("--name", help="the study's name; written to runs/NAME (default: tune-SOURCE)")
    p.add_argument("--resume", metavar="STUDY", help="go on with a study, its name or folder")
    p.add_argument("--metric", metavar="NAME", help="default: evaluated reward or return")
    p.add_argument("--minimize", action="store_true", help="the least is best, not the most")
    p.add_argument("--seed", type=seed, default=0, help="of the search (default: 0)")
    p.add_argument(
        "--seeds",
        type=count,
        default=1,
        metavar="N",
        help="runs of a trial, which is worth their mean (default: 1)",
    )
    as_json(p)
    p.epilog = examples(
        "tune ppo/cartpole --trials 30 total_steps=20000 optim.lr=log:1e-5..1e-2",
        "tune run.yaml optim.lr=log:1e-4..1e-1 world.activation=choice:tanh,relu iterations=50",
        "tune a2c/cartpole --seeds 3 optim.lr=log:1e-4..1e-2 iterations=2500",
        "tune --resume tune-ppo-cartpole --trials 60",
    )
