"""Several runs side by side: groups, tasks, axes; tables, pictures and pages."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from logpi.cli import main
from logpi.core.errors import ConfigError, RunError
from logpi.train.config import RunConfig
from logpi.views.compare import better, compare
from logpi.views.compared import draw, page, tables, write


def made(folder, *, recipe="ppo", seed=0, env="CartPole-v1", last=10.0, count=11, lr=1e-3, **more):
    """A run whose evaluated return climbs evenly to `last`, 50 decisions an iteration."""
    config = RunConfig(
        recipe={"name": recipe},
        world={"kind": "gym", "env": env, "num_envs": 8},
        iterations=count,
        seed=seed,
        optim={"lr": lr},
    )
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    lines = [
        {
            "iteration": i,
            "eval/return": last * i / (count - 1),
            "return": last * i / (count - 1) + (-1) ** i,
            **({"decisions": 50.0} if i else {}),
            **more,
        }
        for i in range(count)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    return folder


def seeds(root, name, *, count=4, **told):
    base = told.pop("last", 10.0)
    return [made(root / f"{name}-{s}", seed=s, last=base + s, **told) for s in range(count)]


def test_runs_that_differ_by_seed_are_one_group(tmp_path):
    found = compare([*seeds(tmp_path, "a"), *seeds(tmp_path, "b", recipe="a2c", last=5.0)])
    assert (found.metric, found.axis) == ("eval/return", "steps")
    (panel,) = found.panels
    assert panel.title == "CartPole-v1"
    assert [g.label for g in panel.groups] == ["ppo", "a2c"]
    ppo, a2c = panel.groups
    assert ppo.seeds == (0, 1, 2, 3)
    assert panel.x[-1] == 500
    assert ppo.final[0] == pytest.approx(11.5, rel=0.05)  # the middle two of 10, 11, 12, 13
    assert ppo.final[1] < ppo.final[0] < ppo.final[2]
    assert a2c.middle == pytest.approx(ppo.middle * 6.5 / 11.5)
    assert better(panel, found.metric)[0]["probability"] == (1.0, 1.0, 1.0)
    assert better(panel, "nll")[0]["probability"] == (0.0, 0.0, 0.0)


def test_groups_are_told_apart_by_what_differs(tmp_path):
    runs = [made(tmp_path / "a"), made(tmp_path / "b", lr=0.5), made(tmp_path / "c", seed=1)]
    found = compare(runs)
    assert [g.label for g in found.panels[0].groups] == ["ppo optim.lr=0.001", "ppo optim.lr=0.5"]
    assert [len(g.runs) for g in found.panels[0].groups] == [2, 1]
    assert "ppo optim.lr=0.5. Train more seeds" in found.notes[0]
    (together,) = compare(runs, by="recipe").panels[0].groups
    assert (together.label, len(together.runs)) == ("ppo", 3)


def test_a_legend_is_no_wider_than_the_picture(tmp_path):
    rates = [10.0**-k for k in range(6)]
    for names in (["a"] * 6, ["a_long_name_" * 12] * 6):
        runs = [
            made(tmp_path / f"{name}-{k}", recipe=f"{name}{k}", lr=lr)
            for k, (name, lr) in enumerate(zip(names, rates, strict=True))
        ]
        figure = draw(compare(runs))
        figure.canvas.draw()
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width


def test_other_recipes_are_told_apart_by_their_names_alone(tmp_path):
    a, b = made(tmp_path / "a"), made(tmp_path / "b", lr=0.5)
    c = made(tmp_path / "c", recipe="a2c", lr=0.1)
    for runs, labels in (
        ([a, c], ["ppo", "a2c"]),
        ([a, b, c], ["ppo optim.lr=0.001", "ppo optim.lr=0.5", "a2c"]),
    ):
        assert [g.label for g in compare(runs).panels[0].groups] == labels


def test_tasks_are_panels_and_are_joined_where_all_have_them(tmp_path):
    runs = [
        run
        for recipe, last in (("ppo", 8.0), ("a2c", 4.0))
        for env, factor in (("CartPole-v1", 1), ("Pendulum-v1", -100))
        for run in seeds(tmp_path, f"{recipe}{env}", recipe=recipe, env=env, last=last * factor)
    ]
    found = compare(runs)
    assert [p.title for p in found.panels[:2]] == ["CartPole-v1", "Pendulum-v1"]
    joined = found.panels[2]
    assert joined.title == "all 2 tasks, between least and most"
    assert joined.x[-1] == 1
    ppo, a2c = joined.groups
    values = np.concatenate([ppo.scores.ravel(), a2c.scores.ravel()])
    assert (values.min(), values.max()) == (0, 1)
    assert ppo.tasks == (0,) * 4 + (1,) * 4
    assert better(joined, found.metric)[0]["probability"][0] == 0.5  # above in one, below in one
    assert len(compare(runs[:-4]).panels) == 2  # a2c has no Pendulum: nothing to join


def test_shorter_runs_end_the_comparison(tmp_path):
    found = compare([made(tmp_path / "a", count=21), made(tmp_path / "b", count=6, recipe="a2c")])
    assert found.panels[0].x[-1] == 250


@pytest.mark.parametrize(("axis", "end"), [("iterations", 10), ("steps", 500), ("seconds", 22)])
def test_axes(axis, end, tmp_path):
    runs = [made(tmp_path / str(k), seed=k, seconds=2.0) for k in range(2)]
    assert compare(runs, axis=axis).panels[0].x[-1] == end


def test_a_noisy_curve_is_averaged_around_each_place(tmp_path):
    run = made(tmp_path / "a", count=1001, last=0.0)
    noisy = compare([run], metric="return").panels[0].groups[0].middle
    assert np.abs(noisy).max() < 0.2


def test_what_cannot_be_compared_is_said(tmp_path):
    a = made(tmp_path / "a")
    with pytest.raises(ConfigError, match=r"no curve of `retrun`\. Did you mean `return`"):
        compare([a], metric="retrun")
    with pytest.raises(ConfigError, match="Did you mean `steps`"):
        compare([a], axis="step")
    with pytest.raises(ConfigError, match="must be config or recipe"):
        compare([a], by="seed")
    with pytest.raises(RunError, match="no run directory"):
        compare([tmp_path / "nowhere"])
    (a / "metrics.jsonl").write_text('{"iteration": 1, "other": 2}\n')
    with pytest.raises(ConfigError, match="there is none at all"):
        compare([a])


def test_namesakes_are_told_apart(tmp_path):
    found = compare(
        [made(tmp_path / "a", env="<b>$x$</b>"), made(tmp_path / "b", env="<b>$x$</b>")]
    )
    assert len(found.panels) == 1
    text = page(found)
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
    draw(found).canvas.draw()  # a dollar sign does not begin mathematics


def test_the_page_loads_nothing(tmp_path):
    found = compare([*seeds(tmp_path, "a"), *seeds(tmp_path, "b", recipe="a2c", last=5.0)])
    text = page(found)
    assert "default-src 'none'" in text
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    assert "ppo over a2c" in text
    assert tables(found)[0].row_count == 2
    path = write(found, tmp_path / "new" / "a.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(RunError, match="already exists"):
        write(found, path)
    with pytest.raises(ConfigError, match="must end in"):
        write(found, tmp_path / "a.pdf")


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    seeds(tmp_path / "runs", "a")
    seeds(tmp_path / "runs", "b", recipe="a2c")
    assert main(["compare", "runs", "--out", "a.svg", "--out", "a.html"]) == 0
    told = capsys.readouterr().out
    assert "CartPole-v1: eval/return at 500 steps" in told
    assert "ppo ends above a2c with probability 0.50" in told
    assert "a.html" in told
    assert main(["compare", "a-0", "runs/b-1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [g["label"] for g in found["panels"][0]["groups"]] == ["ppo", "a2c"]
    assert found["panels"][0]["groups"][1]["final_scores"] == [pytest.approx(11, rel=0.1)]
    assert main(["compare", "c"]) == 2
