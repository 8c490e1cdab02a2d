"""For the tests of plugins: contract suites to inherit, and a toy model to decode with.

A contract suite is a class of tests; each test checks one promise. Inherit it in a class named `Test…`:

    from mdmkit.testing import ScoreContract
    from my_package.scores import Coldest

    class TestColdest(ScoreContract):
        component = Coldest

To use other parameters than the defaults, define a method `make(self)`. A test of a suite cannot be replaced. If a
promise does not hold for your part, override the test with `@pytest.mark.xfail(reason="…")`. Needs pytest.
"""

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            *("backbone", "command", "commit", "constraint", "laws", "lookahead", "observer", "preset", "score"),
            *("engine", "search", "select", "stage", "stop", "task"),
        )
    )
)

from mdmkit.testing.backbone import BackboneContract  # noqa: E402
from mdmkit.testing.command import CommandContract  # noqa: E402
from mdmkit.testing.commit import CommitContract  # noqa: E402
from mdmkit.testing.constraint import ConstraintContract  # noqa: E402
from mdmkit.testing.device import device_of_tests  # noqa: E402
from mdmkit.testing.engine import EngineContract  # noqa: E402
from mdmkit.testing.laws import HostSync, call_without_host, unmutated  # noqa: E402
from mdmkit.testing.lookahead import LookaheadContract  # noqa: E402
from mdmkit.testing.noise_toy import NoiseToy  # noqa: E402
from mdmkit.testing.observer import ObserverContract  # noqa: E402
from mdmkit.testing.preset import PresetContract  # noqa: E402
from mdmkit.testing.reference import ByConfidence, LeastEntropyLeft, Spread, TakeQuota  # noqa: E402
from mdmkit.testing.score import ScoreContract  # noqa: E402
from mdmkit.testing.search import SearchContract  # noqa: E402
from mdmkit.testing.select import SelectContract  # noqa: E402
from mdmkit.testing.steps import Moment, make_moment, make_step  # noqa: E402
from mdmkit.testing.stop import StopContract  # noqa: E402
from mdmkit.testing.task import TaskContract  # noqa: E402
from mdmkit.testing.toy import ToyBackbone  # noqa: E402

__all__ = [
    "BackboneContract",
    "ByConfidence",
    "CommandContract",
    "CommitContract",
    "ConstraintContract",
    "EngineContract",
    "HostSync",
    "LeastEntropyLeft",
    "LookaheadContract",
    "Moment",
    "NoiseToy",
    "ObserverContract",
    "PresetContract",
    "ScoreContract",
    "SearchContract",
    "SelectContract",
    "Spread",
    "StopContract",
    "TakeQuota",
    "TaskContract",
    "ToyBackbone",
    "call_without_host",
    "device_of_tests",
    "make_moment",
    "make_step",
    "unmutated",
]
