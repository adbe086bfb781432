"""What the documentation says: generated parts are current, examples run, links lead somewhere."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from logpi.docs import PAGES, rendered

ROOT = Path(__file__).parents[1]
PROSE = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ALPHABET = "0123456789+="


@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/audit.md"])
def test_generated_parts_are_up_to_date(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert rendered(text) == text, "run `make docs`"


@pytest.mark.slow
def test_the_audit_is_up_to_date():
    text = (ROOT / "docs/audit.md").read_text(encoding="utf-8")
    number = r"[-−]?\d+\.?\d*(?:e[-+]?\d+)?"
    fresh = rendered(text)
    assert re.sub(number, "#", fresh) == re.sub(number, "#", text), "run `make docs`"
    pairs = zip(re.findall(number, fresh), re.findall(number, text), strict=True)
    # A search for the worst case ends a little elsewhere where processors round differently.
    for new, old in ((a.replace("−", "-"), b.replace("−", "-")) for a, b in pairs):
        assert float(new) == pytest.approx(float(old), rel=0.03, abs=0.02)


def test_the_results_are_what_was_stored():
    told = importlib.util.spec_from_file_location("returns", ROOT / "benchmarks" / "returns.py")
    module = importlib.util.module_from_spec(told)
    told.loader.exec_module(module)
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == module.page()


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_commands_exist(path):
    text = path.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake ([a-z]+)\b", text):
        known = re.search(rf"^{target}:", makefile, re.MULTILINE)
        assert known or f"`make {target}`" not in text, f"{path.name}: no `make {target}`"


def example(name: str = "example") -> str:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.search(rf"<!-- {name} -->\n```python\n(.*?)```", readme, re.DOTALL)[1]


def problems() -> str:
    rows = [{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a in range(8) for b in range(8)]
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.slow
def test_the_example_of_the_readme_runs(tmp_path):
    from logpi.worlds.lm.tiny import tiny

    tiny(tmp_path / "path/to/hf-folder", alphabet=ALPHABET, hidden=16, layers=1, heads=2)
    (tmp_path / "train.jsonl").write_text(problems(), encoding="utf-8")
    code = example().replace("iterations=50", "iterations=3")
    check = (
        "\nfrom transformers import AutoModelForCausalLM\n"
        "AutoModelForCausalLM.from_pretrained(run.model_dir)\n"
        "assert len(run.metrics) == 3\n"
        "assert 0 <= run.metrics[-1]['reward'] <= 1\n"
        "assert logpi.RECIPES['dr_grpo'].aggregate is not None\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + check],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_finite_example_of_the_readme_runs(tmp_path):
    check = (
        "\nassert found.bound <= 1e-9\n"
        "assert abs(mdp.evaluate(m, found.policy) - found.value).max() < 1e-8\n"
        "assert run.evaluate()['regret'] >= 0\n"
        "assert report.markdown()\n"
        "assert learned.q.shape == (25, 5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", example("example: mdp") + check],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_environments_of_the_readme_run(tmp_path):
    code = example("example: gym").replace("60_000", "2_048").replace("episodes=100", "episodes=3")
    done = subprocess.run(
        [sys.executable, "-c", code + "\nassert len(run.metrics) == 2\n"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


EXAMPLES = sorted(p for p in (ROOT / "examples").glob("*.py") if p.stem != "audit_trl")  # needs TRL


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short_and_run(path, tmp_path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 120
    told = [sys.executable, str(path), "--smoke"]
    done = subprocess.run(
        told, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
