"""Every benchmark, one after the other; TRL goes into an environment of its own, .venv-bench.

python benchmarks/run.py               all of them, half an hour on a quiet machine
python benchmarks/run.py fixed flat    these workloads of grpo_vs_trl.py alone
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent / ".venv-bench"
PYTHON = ENVIRONMENT / "bin" / "python"
MARK = ENVIRONMENT / ".installed"


def install() -> None:
    """Put TRL into its environment, once for each set of pinned versions."""
    pins = HERE / "constraints.txt"
    if MARK.exists() and MARK.read_text() == pins.read_text():
        return
    print(f"Installing TRL into {ENVIRONMENT.name} (a few minutes, once) ...", flush=True)
    venv.create(ENVIRONMENT, with_pip=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", str(pins), "trl", "torch"], check=True)
    MARK.write_text(pins.read_text())


def main() -> None:
    """Install what is missing, then run."""
    install()
    asked = sys.argv[1:]
    scripts = [("grpo_vs_trl.py", asked)]
    if not asked:
        scripts += [("sft_dpo_vs_trl.py", []), ("cuda.py", [])]
        audit = HERE.parent / "examples" / "audit_trl.py"
        subprocess.run([sys.executable, str(audit), "--trl", str(PYTHON)], check=True)
    for name, arguments in scripts:
        given = ["--trl", str(PYTHON)] if name.endswith("_vs_trl.py") else []
        subprocess.run([sys.executable, str(HERE / name), *given, *arguments], check=True)


if __name__ == "__main__":
    main()
