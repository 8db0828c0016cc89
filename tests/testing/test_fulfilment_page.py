"""docs/fulfilment.md: its example runs."""

from __future__ import annotations

import re

from oms.testing import Shop
from tests.support.files import DOCS

PAGE = (DOCS / "fulfilment.md").read_text()


def test_the_example_runs() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    names: dict[str, object] = {}
    exec(compile(block, "fulfilment.md", "exec"), names)
    test = names["test_from_order_to_return"]
    assert callable(test)
    test(Shop())
