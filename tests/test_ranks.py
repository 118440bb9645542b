"""The order of the house: a module imports lower ranks and its own package, never upwards."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import davstore

PACKAGE = Path(davstore.__file__).parent

#: The rank of every top-level module and package. A new one needs a place here.
RANKS = {
    "__init__": 0,
    "errors": 0,
    "paths": 0,
    "handoff": 0,
    "lazily": 0,
    "config": 1,
    "logs": 1,
    "stores": 2,
    "locks": 2,
    "server": 2,
    "plugins": 2,
    "auth": 2,
    "dav": 3,
    "discovery": 3,
    "client": 4,
    "transfer": 3,
    "providers": 4,
    "web": 4,
    "app": 5,
    "commands": 6,
    "cli": 7,
    "__main__": 8,
}

#: Where a library may be imported, as beginnings of module names.
ONLY_UNDER = {
    "pymongo": ("davstore.stores.mongo", "davstore.locks.mongo"),
    "bson": ("davstore.stores.mongo", "davstore.locks.mongo"),
    "gridfs": ("davstore.stores.mongo", "davstore.locks.mongo"),
    "cheroot": ("davstore.server",),
    "consul": ("davstore.plugins.consul",),
    "flask": ("davstore.web",),
    "werkzeug": ("davstore.web",),
}

#: Where a library may never be imported.
NEVER_UNDER = {"wsgidav": ("davstore.stores", "davstore.locks", "davstore.server")}

#: Imports across packages of one rank, each with its reason.
ALLOWED = {
    # What a change does to a node (Effect) is a term of the guards, which the stores judge.
    ("davstore.locks.base", "davstore.stores.base"),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def exists(module: str) -> bool:
    at = PACKAGE.parent / Path(*module.split("."))
    return at.is_dir() or at.with_suffix(".py").is_file()


def imported(module: str, source: str, *, is_package: bool = False) -> Iterator[str]:
    """Every module that `source` imports anywhere in it, by its full name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")
                above = above[: len(above) - node.level + is_package]
                base = ".".join([*above, *filter(None, [base])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if base.startswith("davstore") and exists(inner) else base


def part(module: str) -> str:
    """The top-level module or package of davstore that `module` belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


def is_under(module: str, places: tuple[str, ...]) -> bool:
    return any(module == place or module.startswith(place + ".") for place in places)


def is_upwards(module: str, name: str) -> bool:
    """Whether `name`, of another package, does not lie lower. Rank 0 is one package."""
    here, there = RANKS[part(module)], RANKS[part(name)]
    if part(module) == part(name) or (module, name) in ALLOWED:
        return False
    return there > 0 and there >= here


def breaches(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """What `source`, as the module of that name, imports against the rules."""
    found = []
    if part(module) not in RANKS:
        return [f"{module} has no rank"]
    for name in imported(module, source, is_package=is_package):
        library = name.split(".")[0]
        if library == "davstore":
            if part(name) not in RANKS:
                found.append(f"{module} imports {name}, which has no rank")
            elif is_upwards(module, name):
                found.append(f"{module} imports upwards: {name}")
        elif library in ONLY_UNDER and not is_under(module, ONLY_UNDER[library]):
            found.append(f"{module} imports {library}, which belongs to {ONLY_UNDER[library]}")
        elif library in NEVER_UNDER and is_under(module, NEVER_UNDER[library]):
            found.append(f"{module} imports {library}")
    return found


def test_every_module_imports_lower_ranks_and_its_own_package_only() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        is_package = path.name == "__init__.py"
        found += breaches(module_name(path), path.read_text(), is_package=is_package)
    assert found == []


def test_every_top_level_module_has_a_rank() -> None:
    top = {path.stem for path in PACKAGE.glob("*.py")}
    top |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert top - set(RANKS) == set()


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("davstore.paths", "from davstore.stores.base import Node"),
        ("davstore.paths", "from davstore import config"),
        ("davstore.stores.x", "import davstore.dav.errors"),
        ("davstore.stores.x", "from davstore import locks"),
        ("davstore.stores.x", "from ..locks import base"),
        ("davstore.stores.folder.x", "from ...auth.base import Action"),
        ("davstore.stores.x", "def f() -> None:\n    import wsgidav.util"),
        ("davstore.server.x", "from wsgidav import util"),
        ("davstore.locks.sqlite", "import pymongo"),
        ("davstore.stores.mongolike", "import bson.raw_bson"),
        ("davstore.dav.x", "import cheroot.wsgi"),
        ("davstore.dav.x", "from davstore.web import rest"),
        ("davstore.web.x", "from davstore.providers import folder"),
        ("davstore.app", "import davstore.cli"),
        ("davstore.plugins.base", "import consul"),
        ("davstore.news", "import os"),
        ("davstore.cli", "import davstore.news"),
    ],
)
def test_a_breach_is_found(module: str, source: str) -> None:
    assert len(breaches(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("davstore.paths", "from davstore.errors import InvalidName"),
        ("davstore.cli", "from davstore import __version__"),
        ("davstore.stores.x", "from davstore import paths\nfrom davstore.stores import base"),
        (
            "davstore.stores.mongo.nodes",
            "import pymongo\nfrom .content import f\nfrom .. import base",
        ),
        ("davstore.locks.mongo", "from pymongo.errors import PyMongoError"),
        ("davstore.server.http", "import cheroot.server"),
        ("davstore.dav.x", "from wsgidav.request_server import RequestServer"),
        ("davstore.app", "from davstore.web import rest"),
        ("davstore.__main__", "from davstore.cli import main"),
        ("davstore.plugins.consul", "import consul"),
    ],
)
def test_what_is_in_order_passes(module: str, source: str) -> None:
    assert breaches(module, source) == []
