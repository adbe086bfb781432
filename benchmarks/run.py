"""Every benchmark, one after the other; the others' libraries go into .venv-bench.

python benchmarks/run.py               all of them, more than half an hour on a quiet machine
python benchmarks/run.py fixed flat    these workloads of grpo_vs_trl.py alone
python benchmarks/run.py --smoke       two or three steps of some, to see that they run: minutes
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent / ".venv-bench"
PYTHON = ENVIRONMENT / "bin" / "python"
MARK = ENVIRONMENT / ".installed"
NAMES = ("trl", "torch", "stable-baselines3", "skrl", "gymnasium[box2d,mujoco]")


def install() -> None:
    """Put the others into their environment, once for each set of pinned versions."""
    pins = HERE / "constraints.txt"
    if MARK.exists() and MARK.read_text() == pins.read_text():
        return
    print(
        f"Installing TRL, Stable-Baselines3 and skrl into {ENVIRONMENT.name} "
        "(a few minutes, once) ...",
        flush=True,
    )
    venv.create(ENVIRONMENT, with_pip=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", str(pins), *NAMES], check=True)
    MARK.write_text(pins.read_text())


def _scripts(given: argparse.Namespace) -> Iterator[list[str]]:
    """What to run, each with its arguments."""
    trl = ["--trl", str(PYTHON)]
    if given.workloads:
        yield [str(HERE / "grpo_vs_trl.py"), *trl, *given.workloads]
        return
    grpo, few, tiny = (["fixed"], ["--steps", "3"], ["--smoke"]) if given.smoke else ([], [], [])
    yield [str(HERE.parent / "examples" / "audit_trl.py"), *trl]
    yield [str(HERE / "grpo_vs_trl.py"), *trl, *grpo, *few]
    yield [str(HERE / "sft_dpo_vs_trl.py"), *trl, *few]
    if not given.smoke:
        yield [str(HERE / "gym_vs_sb3.py"), "--sb3", str(PYTHON), "--skrl", str(PYTHON)]
    yield [str(HERE / "cuda.py"), *tiny]


def main() -> None:
    """Install what is missing, then run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("workloads", nargs="*", help="of grpo_vs_trl.py; all scripts where none")
    parser.add_argument("--smoke", action="store_true", help="a few steps of some of it")
    given = parser.parse_args()
    install()
    for script in _scripts(given):
        subprocess.run([sys.executable, *script], check=True)


if __name__ == "__main__":
    main()
