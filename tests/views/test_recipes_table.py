"""The table of recipes, in its three forms."""

import io

import pytest
from rich.console import Console

from logpi.recipes import RECIPES
from logpi.views.recipes_table import COLUMNS, markdown, rows, table
from logpi.views.show import console


def test_every_recipe_is_a_row_with_its_source():
    listed = rows()
    assert [r["name"] for r in listed] == list(RECIPES)
    assert all(tuple(r) == COLUMNS for r in listed)
    assert all(r["paper"] for r in listed)


def test_markdown_has_as_many_cells_in_every_line():
    lines = markdown().splitlines()
    assert len(lines) == len(RECIPES) + 2
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 1}


@pytest.mark.parametrize("width", [80, 100, 120, 160, 220])
def test_the_terminal_table_fits(width):
    file = io.StringIO()
    Console(file=file, width=width).print(table(width))
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert all(name in text for name in RECIPES)
    assert ("--json" in text) == (width < 180)


def test_with_room_a_recipe_is_a_line():
    file = io.StringIO()
    to = console(file)
    to.print(table(to.width))
    lines = [line.split() for line in file.getvalue().splitlines()]
    for row in rows():
        (line,) = [line for line in lines if line[:1] == [row["name"]]]
        assert all(word in line for column in COLUMNS for word in (row[column] or "–").split())
