"""The commands' names, options and examples: all that `--help` needs, quick to import."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import NoReturn

from logpi.cli import options
from logpi.cli.options import count as _count
from logpi.cli.options import examples as _examples
from logpi.cli.options import run as _run

__all__ = ["COMMANDS", "build", "parse"]

# Name and first line of help.
COMMANDS = {
    "train": "train a policy: a recipe, a preset or a YAML file, and key=value overrides",
    "evaluate": "the trained model on held-out data, or a finite policy's exact return",
    "show": "a rollout in the terminal, every token coloured by its coefficient",
    "report": "one offline HTML file: curves, samples, a heat map per token",
    "compare": "learning curves of several runs, with bootstrap intervals over seeds",
    "tune": "search for hyper-parameters with Optuna, pruning what falls behind",
    "play": "a film of the trained policy in its environment: .mp4 or .gif",
    "export": "the acting policy of an environment as ONNX or TorchScript",
    "recipes": "the table of recipes: data, credit, coefficient, averaging",
    "solve": "the optimal values and policy of a finite MDP, with a certified bound",
    "learn": "values and policies of a finite MDP from experience: MC, TD, Q-learning",
    "mdp": "the finite MDPs that come along, and what their options are",
    "audit": "the exact bias and variance of a recipe's gradient, against named objectives",
    "demo": "train a small model from scratch: SFT on noisy arithmetic, then GRPO",
}


class _Parser(argparse.ArgumentParser):
    def __init__(self, **given: object) -> None:
        super().__init__(
            **{
                "allow_abbrev": False,
                "formatter_class": argparse.RawDescriptionHelpFormatter,
                **given,
            }  # type: ignore[arg-type] # a plain pass-through
        )

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong, and leave with 2."""
        stop = "" if message.endswith("?") else "."
        said = message[:1].lower() + message[1:].rstrip(".")
        self.exit(2, f"{self.prog}: {said}{stop} See `{self.prog} --help`.\n")


def build() -> argparse.ArgumentParser:
    """The parser of `logpi`, with every command."""
    parser = _Parser(
        prog="logpi",
        description="Reinforcement learning as one equation: E[coefficient · ∇ log π].",
        epilog=_examples(
            "train --list",
            "train grpo world.model=path/to/model world.data=train.jsonl --reward reward.py:score",
            "show demo",
            "solve book_grid --discount 0.9 --plot",
            "audit grpo --world tokens/capital --group-size 2",
        ),
    )
    parser.add_argument("--version", action="version", version=f"logpi {version('logpi')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, describe in _COMMANDS.items():
        command = commands.add_parser(name, help=COMMANDS[name])
        command.description = _sentence(COMMANDS[name])
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        describe(command)
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """What was asked for; key=value words may stand before, between and after the options.

    >>> given = parse(["train", "grpo", "--quiet", "iterations=5"])
    >>> given.words, given.quiet
    (['grpo', 'iterations=5'], True)
    """
    parser = build()
    first = next((word for word in argv if not word.startswith("-")), None)
    if first is not None and first not in COMMANDS:
        parser.error(
            f"there is no command `{first}`.{_near(first, COMMANDS)} "
            f"Commands are {', '.join(COMMANDS)}"
        )
    given, rest = parser.parse_known_args(argv)
    unknown = [word for word in rest if word.startswith("-") or not hasattr(given, "words")]
    if unknown:
        command = _command(parser, given.command)
        options = [o for action in command._actions for o in action.option_strings]
        kind = "option" if unknown[0].startswith("-") else "argument"
        command.error(
            f"there is no {kind} `{unknown[0]}` here.{_near(unknown[0].split('=')[0], options)}"
        )
    if hasattr(given, "words"):
        given.words += rest
    return given


def _command(parser: argparse.ArgumentParser, name: str | None) -> argparse.ArgumentParser:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) and name in action.choices:
            return action.choices[name]
    return parser


def _near(word: str, known: Sequence[str] | dict[str, str]) -> str:
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean `{found[0]}`?" if found else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _train(p: argparse.ArgumentParser) -> None:
    p.usage = "logpi train RECIPE|PRESET|FILE.yaml [key=value ...] [options]"
    p.add_argument(
        "words",
        nargs="*",
        metavar="RECIPE|PRESET|FILE.yaml",
        help="what to train, then overrides such as optim.lr=1e-4 recipe.beta=0.0 iterations=100",
    )
    p.add_argument(
        "--name",
        help="the run's name; written to runs/NAME (default: the recipe's name, numbered)",
    )
    p.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="RUN",
        help="go on from a run's newest checkpoint: RUN, else --name, else the latest run",
    )
    _reward(p)
    p.add_argument("--list", action="store_true", help="list the presets and recipes, and stop")
    p.add_argument(
        "--dry-run", action="store_true", help="print the whole configuration as YAML, and stop"
    )
    p.add_argument(
        "--quiet", action="store_true", help="no progress, only errors and the last line"
    )
    p.epilog = _examples(
        "train --list",
        "train grpo world.model=path/to/model world.data=train.jsonl world.reward=exact_match",
        "train ppo/cartpole total_steps=50000 seed=1  # in decisions",
        "train run.yaml optim.lr=1e-5 --name second --reward reward.py:score",
        "train --resume second iterations=400",
    )


def _evaluate(p: argparse.ArgumentParser) -> None:
    _run(p)
    p.add_argument(
        "--examples", type=_count, metavar="N", help="how many held-out examples (default: all)"
    )
    p.add_argument("--episodes", type=_count, metavar="N", help="how many episodes to play")
    options.best(p, "model")
    p.add_argument(
        "--sample",
        type=_count,
        metavar="K",
        default=1,
        help="draw K completions each and report pass@K; 1 decodes greedily (default)",
    )
    p.add_argument("--seed", type=options.seed, help="of what is drawn (default: the run's own)")
    _reward(p)
    options.as_json(p)
    p.epilog = _examples(
        "evaluate demo",
        "evaluate runs/demo --examples 200 --sample 8 --json",
        "evaluate cartpole --episodes 100 --best --seed 1  # other episodes than chose the best",
    )


def _show(p: argparse.ArgumentParser) -> None:
    _run(p)
    p.add_argument("--iteration", type=int, metavar="I", help="default: the last one recorded")
    p.add_argument(
        "--row", type=int, metavar="R", help="default: the row that pushes the policy most"
    )
    p.add_argument("--all", action="store_true", help="every recorded row of the iteration")
    p.epilog = _examples(
        "show demo", "show demo --iteration 20 --row 3", "show demo --all | less -R"
    )


def _report(p: argparse.ArgumentParser) -> None:
    _run(p)
    p.add_argument("--out", metavar="FILE", help="where to write it (default: RUN/report.html)")
    p.add_argument(
        "--video", action="store_true", help="play an episode first, and show it on the page"
    )
    p.epilog = _examples("report demo", "report cartpole --video --out /tmp/cartpole.html")


def _recipes(p: argparse.ArgumentParser) -> None:
    p.add_argument("--json", action="store_true", help="a JSON list of objects")
    p.add_argument("--markdown", action="store_true", help="the table of README.md")
    p.epilog = _examples("recipes", "recipes --json")


def _solve(p: argparse.ArgumentParser) -> None:
    _model(p)
    p.add_argument("--method", default="auto", help="default: auto, which says what it chose")
    _set(p, "an option of the method, such as beta=0.1 of soft_policy_iteration")
    p.add_argument(
        "--tolerance", type=float, default=1e-6, metavar="E", help="largest error of any value"
    )
    p.add_argument("--horizon", type=_count, metavar="T", help="decisions until the task is over")
    _plot(p, "a picture: values and arrows on the grid")
    p.add_argument(
        "--animate", metavar="FILE", help="a film of the iterations on the grid: .gif or .mp4"
    )
    options.as_json(p)
    p.epilog = _examples(
        "solve book_grid --discount 0.9 --plot",
        "solve book_grid r_forbidden=-10 --method value_iteration --animate values.gif",
        "solve FILE.npz --method auto --json",
        "solve FrozenLake-v1 is_slippery=false --discount 0.99",
        "solve book_grid --method soft_policy_iteration --set beta=0.1",
    )


def _learn(p: argparse.ArgumentParser) -> None:
    _model(p)
    p.add_argument("--method", default="q_learning", help="`logpi learn --list` shows them")
    p.add_argument("--episodes", type=_count, metavar="N", help="default: 500")
    p.add_argument("--steps", type=_count, metavar="N", help="steps in all, instead of episodes")
    p.add_argument("--max-steps", type=_count, metavar="T", help="steps that end an episode")
    p.add_argument(
        "--runs", type=_count, default=1, metavar="N", help="independent runs to average"
    )
    p.add_argument("--seed", type=options.seed, default=0, help="of everything random (default: 0)")
    _set(p, "an option of the method, such as alpha=0.5, lam=0.9, epsilon=linear(1,0.1,over=99)")
    _plot(p, "a picture of the learning curve")
    p.add_argument("--list", action="store_true", help="list the methods with their options")
    options.as_json(p)
    p.epilog = _examples(
        "learn --list",
        "learn cliff --method sarsa --episodes 500 --plot",
        "learn random_walk --method td --set alpha=0.1 --runs 100 --plot walk.png",
        "learn book_grid --steps 100000 --set behaviour=uniform",
        "learn Blackjack-v1 --method mc_control --discount 1 --episodes 100000",
    )


def _mdp(p: argparse.ArgumentParser) -> None:
    p.add_argument("what", choices=["list", "show"], help="list them all, or show one")
    p.add_argument("model", nargs="?", metavar="MODEL", help="the one to show")
    p.add_argument("--json", action="store_true", help="JSON instead of a table")
    p.epilog = _examples("mdp list", "mdp show cliff")


def _audit(p: argparse.ArgumentParser) -> None:
    p.add_argument("recipe", metavar="RECIPE", help="`logpi recipes` lists them")
    p.add_argument(
        "words", nargs="*", metavar="key=value", help="constants of the recipe: beta=0.1 low=0.2"
    )
    p.add_argument(
        "--world", default="tokens/capital", metavar="MODEL", help="an MDP of the zoo, or a file"
    )
    p.add_argument("--group-size", type=_count, default=2, metavar="G", help="rows of a group")
    p.add_argument("--horizon", type=_count, metavar="T", help="decisions until the task is over")
    p.add_argument("--discount", type=float, metavar="G", help="default: the model's own")
    p.add_argument("--steps", type=_count, default=1, metavar="N", help="gradient steps on a batch")
    p.add_argument(
        "--lr", type=float, default=0.1, metavar="LR", help="length of such a step (0.1)"
    )
    p.add_argument(
        "--reference",
        choices=("own", "uniform"),
        default="own",
        help="the reference policy: the audited one itself (default), or the uniform one",
    )
    p.add_argument(
        "--sampled", type=_count, metavar="N", help="draw N batches instead of enumerating them all"
    )
    p.add_argument("--seed", type=options.seed, default=0, help="of a sampled audit (default: 0)")
    p.add_argument("--decisions", action="store_true", help="every decision, however many")
    _plot(p, "a picture: true advantage and expected coefficient of each decision")
    options.as_json(p)
    p.epilog = _examples(
        "audit grpo --world tokens/capital --group-size 2",
        "audit rloo --world tokens/lengths --group-size 4 --json",
        "audit ppo low=0.1 high=0.1 --world bandit --steps 3 --lr 2",
        "audit grpo --world tokens/capital --reference uniform",
    )


def _demo(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--quick", action="store_true", help="a few iterations, to see that everything works"
    )
    p.epilog = _examples("demo", "demo --quick")


def _set(p: argparse.ArgumentParser, what: str) -> None:
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help=f"{what}; may be repeated",
    )


def _model(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "model",
        nargs="?",
        metavar="MODEL|FILE",
        help="an MDP of the zoo (`logpi mdp list`), a file, or a Gymnasium environment's name",
    )
    p.add_argument(
        "words", nargs="*", metavar="key=value", help="options of the model: rows=8 slip=0.1"
    )
    p.add_argument("--discount", type=float, metavar="G", help="default: the model's own")


def _plot(p: argparse.ArgumentParser, what: str) -> None:
    p.add_argument(
        "--plot", nargs="?", const="", metavar="FILE", help=f"{what} (default: MODEL.png)"
    )


def _reward(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--reward",
        metavar="FILE.py:FUNCTION",
        help="a reward of your own: (prompt, completion, **columns) -> float | None",
    )


_COMMANDS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "train": _train,
    "evaluate": _evaluate,
    "show": _show,
    "report": _report,
    "compare": options.compare,
    "tune": options.tune,
    "play": options.play,
    "export": options.export,
    "recipes": _recipes,
    "solve": _solve,
    "learn": _learn,
    "mdp": _mdp,
    "audit": _audit,
    "demo": _demo,
}
