"""The application over a real store, for each kind of store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from davstore.app import build_app
from davstore.config import Config
from davstore.dav.app import DavApp
from tests.dav.client import Dav

MakeApp = Callable[..., DavApp]


@pytest.fixture(params=["memory", "folder"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_app(kind: str, tmp_path: Path) -> Iterator[MakeApp]:
    """Makes an application with one share of the kind at "/", or at the given mount paths."""
    made: list[DavApp] = []

    def make(*mounts: str, **sections: object) -> DavApp:
        shares: dict[str, object] = {}
        for number, mount in enumerate(mounts or ("/",)):
            root = tmp_path / f"share{number}"
            root.mkdir(exist_ok=True)
            shares[mount] = {"store": "memory"} if kind == "memory" else {"root": str(root)}
        state = tmp_path / "state"
        state.mkdir(exist_ok=True)
        settings = {"shares": shares, "state": str(state), "workers": 1, **sections}
        app = build_app(Config.model_validate(settings)).dav
        made.append(app)
        return app

    yield make
    for app in made:
        app.close()


@pytest.fixture
def dav(make_app: MakeApp) -> Dav:
    return Dav(make_app())
