from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.serving import NewServing, Serving


@pytest.fixture
def new_serving(tmp_path: Path) -> Iterator[NewServing]:
    """Makes an `oms serve` with these settings, not started yet; a test that fails leaves none running."""
    made: list[Serving] = []

    def new(environ: Mapping[str, str]) -> Serving:
        made.append(Serving(tmp_path / "data", dict(environ)))
        return made[-1]

    yield new
    for serving in made:
        if serving.process is not None and serving.process.poll() is None:
            serving.kill()
