"""The rules of the house, read from the source: who imports whom, what is pure, how large things are."""

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("baton", "controller", "api_server", "workers", "webui", "demo", "bench")
SIBLINGS = {"controller", "api_server", "workers", "webui"}
MAY_IMPORT = {
    "baton": set[str](),
    "controller": {"baton"},
    "api_server": {"baton", "controller.registry", "controller.dispatch"},
    "workers": {"baton"},
    "webui": {"baton"},
}
HEAVY = {"torch", "transformers", "vllm", "llama_cpp", "accelerate", "bitsandbytes", "safetensors"}
HEAVY_HOMES = ("workers/engines/", "demo/", "bench/")
ALWAYS_PURE = {  # besides every file whose docstring says "Pure"
    "baton/wire.py",
    "baton/errors.py",
    "baton/sse.py",
    "controller/registry.py",
    "controller/dispatch.py",
    "controller/fleet.py",
    "api_server/replica.py",
    "workers/slots.py",
}
IMPURE_MODULES = {
    "asyncio",
    "socket",
    "time",
    "datetime",
    "logging",
    "os",
    "subprocess",
    "threading",
    "uuid",
    "secrets",
}
IMPURE_CALLS = {"open", "print", "input"}
RANDOM_TYPES = {"Random"}  # whose instances come in as arguments; the module's own functions have a hidden state
FILE_LINES, FUNCTION_LINES, USUAL_FUNCTION_LINES = 300, 60, 37

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def sources() -> dict[str, ast.Module]:
    """Every Python file of the packages by its path below the root, parsed."""
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return {file.relative_to(ROOT).as_posix(): ast.parse(file.read_text()) for file in files}


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that a file imports anywhere, `from a import b` as `a.b` too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their module in full"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions() -> Iterator[tuple[str, Function]]:
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{path}:{node.lineno} {node.name}", node


def lines(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def test_there_is_something_to_look_at() -> None:
    """The rules below hold of the real tree, not of an empty one."""
    assert {"baton/wire.py", "controller/app.py", "api_server/relay.py"} <= sources().keys()
    assert sum(1 for _ in functions()) > 200


def allowed(module: str, package: str) -> bool:
    """Whether a module of another package of ours may be imported by this one."""
    return any(module == name or module.startswith(name + ".") for name in MAY_IMPORT[package] | {package})


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_only_whom_they_may(package: str) -> None:
    """`baton` imports no sibling, siblings import `baton` only; the API server also two of the controller's modules."""
    ours = set(PACKAGES) | {"tests"}
    wrong = [
        f"{path} imports {module}"
        for path, tree in sources().items()
        if path.startswith(package + "/")
        for module in imports(tree)
        if module.partition(".")[0] in ours and "." in module and not allowed(module, package)
    ]
    assert not wrong


def test_a_sibling_is_never_imported_whole() -> None:
    """`import controller` would be a way around the rule above."""
    wrong = [
        f"{path} imports {module}"
        for path, tree in sources().items()
        for module in imports(tree)
        if module in SIBLINGS and not path.startswith(module + "/")
        if not any(isinstance(node, ast.ImportFrom) and node.module == module for node in ast.walk(tree))
    ]
    assert not wrong


def test_heavy_libraries_stay_with_the_engines() -> None:
    """Only engines, the demo model and the benches import machine-learning libraries."""
    wrong = [
        f"{path} imports {module}"
        for path, tree in sources().items()
        if not path.startswith(HEAVY_HOMES)
        for module in imports(tree)
        if module.partition(".")[0] in HEAVY
    ]
    assert not wrong


def impurities(tree: ast.Module) -> Iterator[str]:
    """What a pure file must not have: clock, network, files, log, hidden randomness, coroutines."""
    yield from (name for name in imports(tree) if name.partition(".")[0] in IMPURE_MODULES)
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await):
            yield f"a coroutine in line {node.lineno}"
        elif isinstance(node, ast.ImportFrom) and node.module == "random":
            yield "names from random"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random":
            if node.attr not in RANDOM_TYPES:
                yield f"random.{node.attr} in line {node.lineno}"
        elif isinstance(node, ast.Call):
            yield from impure_calls(node)


def impure_calls(call: ast.Call) -> Iterator[str]:
    if isinstance(call.func, ast.Name) and call.func.id in IMPURE_CALLS:
        yield f"{call.func.id}() in line {call.lineno}"
    if isinstance(call.func, ast.Attribute) and call.func.attr in RANDOM_TYPES:
        yield f"a generator of its own in line {call.lineno}"


def pure_files() -> list[str]:
    """The files that must be pure, and all those that call themselves so."""
    claiming = {path for path, tree in sources().items() if "Pure" in (ast.get_docstring(tree) or "")}
    return sorted(ALWAYS_PURE | claiming)


@pytest.mark.parametrize("path", pure_files())
def test_pure_files_are_pure(path: str) -> None:
    """Time and random numbers come in as arguments; nothing reads, writes, waits or logs."""
    assert list(impurities(sources()[path])) == []


@pytest.mark.parametrize(
    "code",
    [
        "import time",
        "from time import monotonic",
        "import asyncio",
        "import logging",
        "from random import choice",
        "import random\nx = random.random()",
        "import random\nr = random.Random()",
        "open('x')",
        "async def f() -> None: ...",
    ],
)
def test_the_check_of_purity_bites(code: str) -> None:
    """Each thing that a pure file must not have is found."""
    assert list(impurities(ast.parse(code)))


def test_the_check_of_imports_bites() -> None:
    """The API server may use the pure modules of the controller, and nothing else of it."""
    assert allowed("controller.registry", "api_server")
    assert allowed("controller.registry.Worker", "api_server")
    for module, package in [
        ("controller.settings", "api_server"),
        ("controller.registry2", "api_server"),
        ("workers.slots", "api_server"),
        ("controller.registry", "workers"),
        ("api_server.replica", "controller"),
        ("controller.registry", "baton"),
    ]:
        assert not allowed(module, package)


def test_no_import_cycles() -> None:
    """Modules can be read in an order in which each one needs only those before it."""
    names = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in sources()}
    graph = {
        name: {module for module in imports(sources()[path]) if module in names and module != name}
        for name, path in names.items()
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_no_globals() -> None:
    """No function changes a module's variables."""
    wrong = [
        f"{path}:{node.lineno}"
        for path, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Global)
    ]
    assert not wrong


def test_supervisor_is_no_package() -> None:
    """A Python file there would hide the package `supervisor` that runs everything."""
    assert not list((ROOT / "supervisor").rglob("*.py"))


def test_tests_are_packages() -> None:
    """Without `__init__.py`, `tests/controller` would be imported as `controller`."""
    folders = {file.parent for file in (ROOT / "tests").rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


def test_every_package_is_installed() -> None:
    """`pyproject.toml` lists each folder with Python files that runs, and none that does not exist."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    assert not [name for name in listed if not (ROOT / name.replace(".", "/") / "__init__.py").exists()]
    folders = {Path(path).parent for path in sources()}
    needed = {
        ".".join(folder.parts)
        for folder in folders
        if folder.parts[0] != "bench" and folder.parts[:2] != ("demo", "corpus")  # neither is needed to serve
    }
    assert needed <= listed, needed - listed


def test_files_are_small() -> None:
    """A file holds one idea; beyond this length it holds two."""
    long = {path: count for path in sources() if (count := len((ROOT / path).read_text().splitlines())) > FILE_LINES}
    assert not {path: count for path, count in long.items() if not path.startswith("demo/corpus/")}


def test_functions_are_short() -> None:
    """No function is long, and nine of ten are short."""
    lengths = {name: lines(function) for name, function in functions()}
    assert not {name: count for name, count in lengths.items() if count > FUNCTION_LINES}
    assert sum(count <= USUAL_FUNCTION_LINES for count in lengths.values()) >= 0.9 * len(lengths)


def test_functions_say_what_they_return() -> None:
    """Every function has a return type."""
    assert not [name for name, function in functions() if function.returns is None]


def test_modules_say_what_they_are() -> None:
    """Every file that holds code begins with a docstring."""
    assert not [path for path, tree in sources().items() if tree.body and ast.get_docstring(tree) is None]
