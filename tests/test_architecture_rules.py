"""The rooms of the design and the rules of the style, enforced on the sources themselves."""

from __future__ import annotations

import ast
import functools
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "benchbench"
TESTS = ROOT / "tests"
MODULES = sorted(PACKAGE.rglob("*.py"))
PLUGIN_MODULES = sorted(path for path in (ROOT / "plugins").glob("*/src/**/*.py"))

# room -> rooms of benchbench that it may import; a room is the first name below the package
MAY_IMPORT = {
    "escaping": set(),
    "errors": {"escaping"},
    "kernels": {"kernels"},
    "bounds": {"bounds", "errors", "kernels"},
    "contract": {"contract", "errors", "kernels", "bounds"},
    "builtin": {"contract", "builtin", "version"},  # hints name the distribution
    "testing": {"contract", "testing"},
}
MUST_NOT_IMPORT = {
    "planning": {"harness", "pricing", "executors", "running", "leaderboard", "training", "evaluation"},
    "harness": {"suite", "planning", "pricing", "executors", "running", "report"},
    "cell": {"suite", "planning", "harness", "records", "leaderboard", "evaluation"},
    "events": {"suite", "planning", "harness", "records", "leaderboard", "evaluation", "training"},
    "training": {"suite", "planning", "registry", "harness", "records", "leaderboard", "evaluation", "data"},
    "evaluation": {"suite", "planning", "registry", "harness", "records", "leaderboard", "training", "data"},
    "records": {"suite", "planning", "registry", "harness", "leaderboard", "training", "evaluation"},
    "leaderboard": {"suite", "planning", "registry", "harness", "training", "evaluation", "data", "builtin"},
    "comparison": {"suite", "planning", "registry", "harness", "training", "evaluation", "data", "builtin", "checking"},
    "report": {"suite", "planning", "harness", "running", "executors", "evaluation", "builtin"},
    "registry": {"suite", "planning", "harness", "records", "leaderboard", "training", "evaluation"},
    "separations": {"suite", "planning", "registry", "harness", "records", "leaderboard", "training", "evaluation"},
}
ONLY_IN = {
    "rich": {"cli"},
    "click": {"cli"},
    "pyarrow": {"records", "leaderboard", "builtin/datasets/parquet_images.py"},
}
# folders of tests that mirror no room; /benchmarks is mirrored as rooms are
OTHER_TESTS = {"whole", "fuzzing"}
HEAVY = {"torch", "torchvision", "numpy", "scipy", "pyarrow", "timm", "foolbox", "sklearn", "numba", "matplotlib"}


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(path: Path) -> str:
    """The first name below the package, for instance ``training``; ``cell`` for ``benchbench/cell/model.py``."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def imports(path: Path) -> tuple[tuple[int, str], ...]:
    """Line and absolute dotted name of every import, those inside functions and for type checking included."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package_of(path, node.level) if node.level else []
            parts = [*base, *([node.module] if node.module else [])]
            found += [(node.lineno, ".".join([*parts, alias.name])) for alias in node.names]
    return tuple(found)


def package_of(path: Path, level: int) -> list[str]:
    """The package that a relative import of this level starts from."""
    return list(path.relative_to(ROOT).parent.parts)[: -(level - 1) or None]


def imported_rooms(path: Path) -> Iterator[tuple[int, str]]:
    """Line and room of every import from the package itself."""
    rooms = {room_of(module) for module in MODULES}
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] == "benchbench":
            yield line, parts[1] if len(parts) > 1 and parts[1] in rooms else "__init__"


def violations(room: str, forbidden: set[str]) -> list[str]:
    return [
        f"{name_of(path)}:{line} imports benchbench.{other}"
        for path in MODULES
        if room_of(path) == room
        for line, other in imported_rooms(path)
        if other in forbidden
    ]


ROOMS = sorted({room_of(path) for path in MODULES})


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_room_imports_only_what_it_may(room: str) -> None:
    assert room in ROOMS
    assert violations(room, set(ROOMS) - MAY_IMPORT[room]) == []


@pytest.mark.parametrize("room", sorted(MUST_NOT_IMPORT))
def test_room_does_not_import_what_comes_after_it(room: str) -> None:
    assert violations(room, MUST_NOT_IMPORT[room]) == []


def test_arrows_between_rooms_point_one_way() -> None:
    arrows: dict[str, set[str]] = {room: set() for room in ROOMS}
    for path in MODULES:
        arrows[room_of(path)] |= {other for _, other in imported_rooms(path)} - {room_of(path)}
    assert circle(arrows) == []


def test_arrows_between_modules_point_one_way() -> None:
    modules = {dotted(path) for path in MODULES if path.name != "__init__.py"}
    arrows = {
        dotted(path): {name for _, imported in imports(path) for name in lineage(imported) if name in modules}
        for path in MODULES
        if dotted(path) in modules
    }
    assert circle(arrows) == []


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Names that follow each other in a circle of arrows; none where there is no circle."""
    try:
        graphlib.TopologicalSorter(arrows).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def lineage(imported: str) -> list[str]:
    """A dotted name and the one above it: what is imported is a module, or something in one."""
    return [imported, imported.rpartition(".")[0]]


@pytest.mark.parametrize("room", sorted(set(ROOMS) - {"cli", "__main__"}))
def test_nobody_imports_the_command_line_or_the_bare_package(room: str) -> None:
    assert violations(room, {"cli", "__init__"}) == []


def test_no_room_has_the_name_of_a_function_of_the_api() -> None:
    import benchbench

    assert set(ROOMS) & {name for name in dir(benchbench) if callable(getattr(benchbench, name))} == set()


def test_plugins_import_only_contract_and_testing() -> None:
    assert PLUGIN_MODULES
    allowed = ("benchbench.contract", "benchbench.testing")
    foreign = [
        f"{name_of(path)}:{line} imports {name}"
        for path in PLUGIN_MODULES
        for line, name in imports(path)
        if name.split(".")[0] == "benchbench" and name != "benchbench" and not name.startswith(allowed)
    ]
    assert foreign == []


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_library_stays_in_its_rooms(library: str) -> None:
    astray = [
        f"{name_of(path)}:{line}"
        for path in MODULES
        for line, name in imports(path)
        if name.split(".")[0] == library and not lives_in(path, ONLY_IN[library])
    ]
    assert astray == []


def lives_in(path: Path, places: set[str]) -> bool:
    inside = path.relative_to(PACKAGE)
    return bool({str(inside), inside.parts[0]} & places)


@pytest.mark.parametrize(
    "module",
    ["benchbench", "benchbench.contract", "benchbench.builtin", "benchbench.registry", "benchbench.cli"],
)
def test_import_is_light(module: str) -> None:
    program = f"import sys, {module}; print(*sorted(set({sorted(HEAVY)!r}) & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert loaded.split() == []


def test_help_is_light() -> None:
    program = (
        "import sys\nfrom benchbench.cli import invoke\ninvoke(['--help'])\n"
        f"print(*sorted(set({sorted(HEAVY)!r}) & sys.modules.keys()), file=sys.stderr)"
    )
    finished = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "Usage" in finished.stdout
    assert finished.stderr.split() == []


def test_modules_are_short() -> None:
    sizes = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: size for name, size in sizes.items() if size > 300} == {}


def test_functions_are_annotated() -> None:
    bare = [
        f"{name_of(path)}:{node.lineno} {node.name}"
        for path in [*MODULES, *PLUGIN_MODULES]
        for node in ast.walk(tree_of(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not is_annotated(node)
    ]
    assert bare == []


def is_annotated(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    arguments += [extra for extra in (node.args.vararg, node.args.kwarg) if extra is not None]
    typed = all(argument.annotation or argument.arg in ("self", "cls") for argument in arguments)
    return typed and node.returns is not None


def test_modules_and_public_names_have_docstrings() -> None:
    missing = []
    for path in [*MODULES, *PLUGIN_MODULES]:
        tree = tree_of(path)
        missing += [] if ast.get_docstring(tree) else [name_of(path)]
        missing += [
            f"{name_of(path)}:{node.lineno} {node.name}" for node in public(tree) if not ast.get_docstring(node)
        ]
    assert missing == []


def public(scope: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Public functions and classes, and the public methods of those classes; of overloads the implementation."""
    for node in scope.body:
        if (
            isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and not node.name.startswith("_")
            and not is_overload(node)
        ):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node)


def is_overload(node: ast.FunctionDef | ast.ClassDef) -> bool:
    return any(isinstance(one, ast.Name) and one.id == "overload" for one in node.decorator_list)


def calls(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def test_package_has_no_assert_and_no_bare_except() -> None:
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in [*MODULES, *PLUGIN_MODULES]
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Assert) or (isinstance(node, ast.ExceptHandler) and node.type is None)
    ]
    assert found == []


def test_only_the_command_line_prints() -> None:
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in [*(module for module in MODULES if room_of(module) != "cli"), *PLUGIN_MODULES]
        for node in ast.walk(tree_of(path))
        if calls(node, "print")
    ]
    assert found == []


def test_only_one_module_of_the_command_line_prints_because_it_escapes() -> None:
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in MODULES
        if room_of(path) == "cli" and path.stem != "printing"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"click.echo", "click.secho", "sys.stdout.write"}
    ]
    assert found == []


def test_no_module_is_a_drawer_for_the_rest() -> None:
    drawers = {"utils", "util", "helpers", "common", "misc"}
    assert [name_of(path) for path in MODULES if path.stem in drawers] == []


def misnamed(test: Path) -> bool:
    """Whether a test file in a folder is named after no module or subpackage of its room, and not after the room itself."""
    folder = test.relative_to(TESTS).parent
    room = (ROOT if folder.parts[0] == "benchmarks" else PACKAGE) / folder
    subject = test.stem.removeprefix("test_")
    places = (room / f"{subject}.py", room / subject / "__init__.py")
    return not (any(place.is_file() for place in places) or (room.is_dir() and subject == room.name))


def test_tests_of_a_room_are_named_after_what_they_test() -> None:
    mirrors = [
        test for test in sorted(TESTS.glob("*/**/test_*.py")) if test.relative_to(TESTS).parts[0] not in OTHER_TESTS
    ]
    assert len(mirrors) > 100
    assert [name_of(test) for test in mirrors if misnamed(test)] == []


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("training/test_loop.py", False),
        ("training/test_training.py", False),
        ("builtin/attacks/test_autoattack.py", False),
        ("benchmarks/test_contest.py", False),
        ("training/test_speed.py", True),
        ("nowhere/test_nowhere.py", True),
        ("benchmarks/test_ratios.py", True),
    ],
)
def test_name_after_nothing_is_found(name: str, wrong: bool) -> None:
    assert misnamed(TESTS / name) is wrong


def hook_names() -> list[str]:
    from benchbench.contract.offers import Hooks

    return sorted(name for name in vars(Hooks) if name.startswith("benchbench_"))


def test_there_is_a_hook_for_every_kind() -> None:
    from benchbench.contract.offers import KINDS

    assert hook_names() == sorted(f"benchbench_{kind}s" for kind in KINDS)


@pytest.mark.parametrize("hook", hook_names())
def test_hook_is_implemented_built_in_and_documented(hook: str) -> None:
    from benchbench import builtin

    assert callable(getattr(builtin, hook))
    assert f"`{hook}`" in (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")


def test_kind_with_a_protocol_has_a_conformance_check() -> None:
    from benchbench import testing
    from benchbench.contract.offers import KINDS

    checks = {name.removeprefix("check_") for name in testing.__all__ if name.startswith("check_")}
    checks.remove("certificates")  # of a model, which any architecture or defense may give
    assert checks == set(KINDS) - {"suite"}  # a suite is checked by `benchbench check`


@pytest.mark.parametrize("name", ["hat", "trades-ema", "extra-data"])
def test_a_method_from_a_paper_takes_under_90_lines(name: str) -> None:
    paths = sorted((ROOT / "plugins" / f"benchbench-{name}" / "src").rglob("*.py"))
    assert len(paths) == 2
    assert sum(bool(line.strip()) for path in paths for line in path.read_text(encoding="utf-8").splitlines()) < 90
