"""The architecture, executed: imports point down only, one file drives generators, nothing at module level changes."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pytest

import poutine
from interpreters.command.entries import entry

ROOT = Path(__file__).parent.parent
FILES = {path: ast.parse(path.read_text()) for package in ("poutine", "interpreters") for path in sorted((ROOT / package).rglob("*.py"))}
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): tree for path, tree in FILES.items()}


def own_imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value.partition(":")[0] if ":" in node.value else "")  # an entry, which is an import of later
    return {name for name in found if name in MODULES}


def test_no_import_goes_round_in_a_circle():
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"import cycle: {' -> '.join([*path, module])}"
        if module not in finished:
            for imported in own_imports(MODULES[module]) - {module}:
                visit(imported, (*path, module))
            finished.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_own_modules_are_imported_at_the_top_and_by_their_full_names(path: Path):
    tree = FILES[path]
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
        if isinstance(node, (ast.Import, ast.ImportFrom)) and id(node) not in top:
            assert not own_imports(ast.Module([node], [])), f"line {node.lineno}: an own module is imported inside of something"


def test_entries_are_there():
    entries = [
        node.value
        for tree in FILES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"interpreters[\w.]*:\w+", node.value)
    ]
    assert len(entries) == 6
    for each in entries:
        assert callable(entry(each)), each


def test_what_the_command_line_says_of_itself_needs_no_torch():
    """Nor do complaints about it; and those about its files need no compiler."""
    for argv, unneeded in ((["infer", "--help"], "torch"), (["infer"], "torch"), (["infer", "no_such_file.py"], "numba")):
        code = f"import sys; sys.argv[1:] = {argv!r}; from interpreters.__main__ import main\n"
        code += f"try: main()\nexcept SystemExit: pass\nprint({unneeded!r} in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
        assert done.stdout.splitlines()[-1] == "False", argv


def test_poutine_does_not_import_interpreters_and_handlers_do_not_import_one_another():
    for module, tree in MODULES.items():
        imported = own_imports(tree) - {module}
        if module.startswith("poutine"):
            assert not {name for name in imported if name.startswith("interpreters")}, module
        if module.startswith("poutine.handlers."):
            assert not {name for name in imported if name.startswith("poutine.handlers")}, module
        if not module.startswith("poutine.laws"):
            assert not {name for name in imported if name.startswith("poutine.laws")}, module


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_driver_drives_generators(path: Path):
    if path.parent.name == "driver":
        return
    for node in ast.walk(FILES[path]):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"send", "throw"}, f"line {node.lineno}: {node.attr}"
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            assert "StopIteration" not in ast.unparse(node.type), f"line {node.lineno}"


def test_handler_files_are_short():
    for path in (ROOT / "poutine" / "handlers").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 100, path


def test_every_public_name_is_exported_once_and_exists():
    assert len(set(poutine.__all__)) == len(poutine.__all__)
    for name in poutine.__all__:
        thing = getattr(poutine, name)
        if not name.isupper():
            assert thing.__doc__ or type(thing).__doc__, f"{name} has no docstring"
    handlers = {path.stem for path in (ROOT / "poutine" / "handlers").glob("[!_]*.py")}
    assert handlers <= set(poutine.__all__), "each handler has its short alias"


def test_every_public_member_of_a_public_class_is_documented():
    for name in poutine.__all__:
        cls = getattr(poutine, name)
        if isinstance(cls, type):
            for member in (member for member in vars(cls) if not member.startswith("_") and is_method(vars(cls)[member])):
                bases = [vars(base) for base in cls.__mro__ if base.__module__.startswith("poutine.")]  # what others say is of theirs
                assert any(base[member].__doc__ for base in bases if member in base), f"{name}.{member} has no docstring"


def is_method(member: object) -> bool:
    return isinstance(member, (FunctionType, property, classmethod, staticmethod))


def test_a_name_of_the_facade_is_no_module_by_accident():
    for name in poutine.__all__:
        assert not isinstance(getattr(poutine, name), type(poutine)), name


def test_importing_is_quick_to_say_what_it_needs():
    """``import poutine`` imports neither hypothesis nor any extra, beyond what torch itself imports."""
    code = "import sys, torch; extras = {'hypothesis', 'arviz', 'networkx', 'tqdm', 'matplotlib'} - sys.modules.keys(); import poutine; "
    code += "print(sorted(extras & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", [name for name in MODULES if name != "interpreters.__main__"])
def test_nothing_at_module_level_can_change(module: str):
    for name, value in vars(importlib.import_module(module)).items():
        if not name.startswith("__") and getattr(value, "__module__", module) == module:
            assert not isinstance(value, (list, dict, set, bytearray)), f"{module}.{name} is mutable"
