"""The shape of the code: layers, cycles, budgets, declared names, and what must not be used."""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
TESTS = ROOT / "tests"
FILES = sorted((SOURCE / "logpi").rglob("*.py"))

LINES_A_MODULE = 400
LINES_A_FUNCTION = 40
POSITIONAL = 5
DEPTH = 1

# What a part of the house may import of the others. The roots put the parts together.
MAY_IMPORT = {
    "logpi.core": ["logpi.core"],
    "logpi.rows": ["logpi.core", "logpi.rows"],
    "logpi.recipes": ["logpi.core", "logpi.rows"],
    "logpi.worlds.settings": ["logpi.core"],
    "logpi.worlds.gym": ["logpi.core", "logpi.worlds.settings", "logpi.worlds.gym"],
    "logpi.worlds.lm": ["logpi.core", "logpi.worlds.settings", "logpi.worlds.lm"],
    "logpi.worlds.mdp": ["logpi.core", "logpi.worlds.settings", "logpi.worlds.mdp"],
    "logpi.audit": ["logpi.audit", "logpi.core", "logpi.recipes", "logpi.worlds.mdp"],
    "logpi.train": ["logpi.core", "logpi.recipes", "logpi.train"],
    "logpi.views": ["logpi.core", "logpi.recipes", "logpi.train.rundir", "logpi.views"],
}
ROOTS = ["logpi", "logpi.__main__", "logpi.demo", "logpi.docs", "logpi.mdp", "logpi.run"]
ROOTS += ["logpi.length", "logpi.named", "logpi.played", "logpi.session", "logpi.tuning"]

FORBIDDEN = {
    r"pickle\.load\(": "files are JSON, YAML or safetensors; nothing is unpickled from disk",
    r"(?<!cloud)pickle\.loads\(": "only the two ends of the pipe to our own reward workers do",
    r"torch\.(load|save)\(": "it unpickles: use safetensors",
    r"trust_remote_code\s*=\s*True": "a model folder must not run its own code",
    r"yaml\.(load|unsafe_load|full_load)\(": "use yaml.safe_load",
    r"(?<![.\w])(eval|exec)\(": "configuration is data",
    r"\b(TODO|FIXME|XXX)\b": "finish it, or leave it out",
    r"\bNotImplementedError\b": "finish it, or leave it out",
}
# The reward workers are our own child processes; what they are sent never touches a disk.
EXEMPT = {r"(?<!cloud)pickle\.loads\(": {"pool.py", "worker.py"}}


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


MODULES = {name_of(path): path for path in FILES}


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def targets(node: ast.AST) -> list[str]:
    """The logpi modules that an import statement names."""
    if isinstance(node, ast.Import):
        found = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        inner = [f"{node.module}.{alias.name}" for alias in node.names]
        found = [name if name in MODULES else node.module for name in inner]
    else:
        found = []
    return [name for name in found if within(name, "logpi")]


def for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def executed_at_import(node: ast.AST) -> list[ast.AST]:
    """The nodes that run when the module is imported."""
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or for_types_only(child):
            continue
        found += [child, *executed_at_import(child)]
    return found


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [node for node in ast.walk(tree(path)) if isinstance(node, kinds)]


def declared(path: Path) -> list[str] | None:
    for node in tree(path).body:
        if isinstance(node, ast.Assign) and "__all__" in [ast.unparse(t) for t in node.targets]:
            return ast.literal_eval(node.value)
    return None


def is_private(module: str) -> bool:
    return any(part.startswith("_") for part in module.split(".")[1:])


def only_a_docstring(path: Path) -> bool:
    return all(isinstance(node, ast.Expr) for node in tree(path).body)


# -- layers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_layers(module):
    if module in ROOTS or within(module, "logpi.cli"):
        return
    layer = [package for package in MAY_IMPORT if within(module, package)]
    if not layer:
        assert only_a_docstring(MODULES[module]), (
            f"{module} belongs to no layer: add it to MAY_IMPORT"
        )
        return
    allowed = MAY_IMPORT[layer[0]]
    wrong = [
        f"line {node.lineno}: {target}"
        for node in ast.walk(tree(MODULES[module]))
        for target in targets(node)
        if not any(within(target, package) for package in allowed)
    ]
    assert not wrong, f"{module} may import {allowed}, and imports {wrong}"


def test_no_import_cycles():
    graph = {
        module: {
            target
            for node in executed_at_import(tree(path))
            for target in targets(node)
            if target != module
        }
        for module, path in MODULES.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def test_core_imports_only_arrays_and_their_types():
    known = {"torch", "numpy", "jaxtyping", "logpi", "math"}
    standard = {"__future__", "collections", "dataclasses", "typing", "functools", "inspect"}
    standard |= {"weakref", "difflib", "hashlib", "itertools", "types"}
    for path in (SOURCE / "logpi" / "core").glob("*.py"):
        for node in ast.walk(tree(path)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            wrong = [name for name in names if name.split(".")[0] not in known | standard]
            assert not wrong, f"{path.name} imports {wrong}"


# -- budgets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_budget_of_lines(module):
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= LINES_A_MODULE, f"{module} has {lines} lines: two ideas share a file"
    long = [
        f"{f.name}: {f.end_lineno - f.lineno + 1}"
        for f in functions(MODULES[module])
        if f.end_lineno - f.lineno + 1 > LINES_A_FUNCTION
    ]
    assert not long, f"{module}: functions over {LINES_A_FUNCTION} lines: {long}"


@pytest.mark.parametrize("module", MODULES)
def test_budget_of_parameters(module):
    for f in functions(MODULES[module]):
        names = [a.arg for a in [*f.args.posonlyargs, *f.args.args]]
        if names[:1] == ["ctx"]:  # torch calls an autograd function's methods with what it saved
            continue
        names = names[1:] if names and names[0] in {"self", "cls"} else names
        assert len(names) <= POSITIONAL, f"{module}.{f.name}: make some of {names} keyword-only"


def test_budget_of_inheritance():
    bases = {
        node.name: [ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases]
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
    }

    def depth(name):
        return 1 + max((depth(base) for base in bases[name] if base in bases), default=-1)

    deep = {name: depth(name) for name in bases if depth(name) > DEPTH}
    assert not deep, f"classes that inherit from classes that inherit: {deep}"


@pytest.mark.parametrize("module", MODULES)
def test_no_name_is_given_twice_in_a_class(module):
    for kind in ast.walk(tree(MODULES[module])):
        if not isinstance(kind, ast.ClassDef):
            continue
        fields = [ast.unparse(n.target) for n in kind.body if isinstance(n, ast.AnnAssign)]
        fields += [
            ast.unparse(t) for n in kind.body if isinstance(n, ast.Assign) for t in n.targets
        ]
        fields += [
            n.name
            for n in kind.body
            if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and not n.decorator_list
        ]
        twice = sorted({name for name in fields if fields.count(name) > 1})
        assert not twice, f"{module}.{kind.name}: the second of these hides the first: {twice}"


# -- the public surface ----------------------------------------------------------------------------


PUBLIC = {m: p for m, p in MODULES.items() if not is_private(m) and not only_a_docstring(p)}


@pytest.mark.parametrize("module", PUBLIC)
def test_public_modules_declare_their_names(module):
    path = PUBLIC[module]
    assert ast.get_docstring(tree(path)), f"{module} has no docstring"
    if module == "logpi.train":  # only makes the package callable
        return
    names = declared(path)
    assert names is not None, f"{module} has no __all__"
    assert len(names) == len(set(names)), f"{module}.__all__ repeats itself"
    body = tree(path).body
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    made = {node.name: node for node in body if isinstance(node, kinds)}
    bare = [n for n in names if n in made and not ast.get_docstring(made[n])]
    assert not bare, f"{module}: without a docstring: {bare}"
    bare = [n for n in undocumented_constants(path) if n in names]
    assert not bare, f"{module}: constants without a docstring or comment: {bare}"


def undocumented_constants(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    body = tree(path).body
    return [
        ast.unparse(target)
        for i, node in enumerate(body)
        if isinstance(node, ast.Assign | ast.AnnAssign)
        if not (i + 1 < len(body) and isinstance(body[i + 1], ast.Expr))
        if not any("#" in line for line in lines[node.lineno - 2 : node.end_lineno])
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]


@cache
def examined_text() -> str:
    tests = [p.read_text(encoding="utf-8") for p in TESTS.rglob("*.py") if p.name != "test_api.py"]
    examples = [
        line
        for path in FILES
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip().startswith((">>>", "..."))
    ]
    return "\n".join([*tests, *examples])


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_tested(module):
    if within(module, "logpi.rows"):  # tested through the table, row by row
        return
    made = {n.name for n in tree(PUBLIC[module]).body if isinstance(n, ast.FunctionDef)}
    names = made & set(declared(PUBLIC[module]) or [])
    missing = [name for name in sorted(names) if not re.search(rf"\b{name}\b", examined_text())]
    assert not missing, f"{module}: in no test and no example: {missing}"


def test_tests_mirror_the_source():
    for path in TESTS.rglob("test_*.py"):
        folder = path.parent.relative_to(TESTS)
        if folder.parts[:1] == ("learn",):  # slow learning tests, of the whole house
            continue
        assert (SOURCE / "logpi" / folder).is_dir(), f"{path}: no such folder in src/logpi"
    for package in ("core", "worlds/lm", "worlds/mdp", "train", "views", "audit"):
        assert list((TESTS / package).glob("test_*.py")), f"tests/{package} has no tests"


# -- what must not be there ------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_forbidden(pattern):
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("src", "examples")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.name not in EXEMPT.get(pattern, ())
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert not found, f"{FORBIDDEN[pattern]}: {found}"
