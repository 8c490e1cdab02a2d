"""A corpus table for the toy model."""

import pytest

from mdmkit.testing import ToyBackbone
from mdmkit_heuristics.frequency import count


@pytest.fixture(scope="session")
def toy_table(tmp_path_factory):
    """The path of a table in which letter k occurs 3·k times, but k = 4 never."""
    pieces = [[k] * (3 * k) for k in range(1, 11) if k != 4]
    path = tmp_path_factory.mktemp("corpus") / "toy.json"
    count(pieces, ToyBackbone(), "toy:0", "made up").save(path)
    return str(path)
