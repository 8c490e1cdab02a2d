"""What these tests share: a confidence score and a greedy select of their own, so that no other plugin is needed."""

from dataclasses import dataclass

import pytest

import mdmkit
from mdmkit import Actions, ops


@dataclass(frozen=True)
class Confidence:
    def __call__(self, step):
        return step.confidence


@dataclass(frozen=True)
class Greedy:
    def __call__(self, step, scores):
        return Actions.single(ops.top(scores, step.open, step.quota), step.tokens)


@pytest.fixture
def confidence():
    return Confidence()


@pytest.fixture
def greedy():
    return Greedy()


@pytest.fixture
def decode():
    return mdmkit.decode
