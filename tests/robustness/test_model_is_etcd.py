"""The model is worth what it is worth against a real etcd: equal answers, request by request."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.robustness.checks import Refusal
from tests.robustness.compare import METHODS, Outcome, same, tell
from tests.robustness.corners import CORNERS
from tests.robustness.etcd_world import EtcdRpcError, EtcdWorld
from tests.robustness.model import Model, Request
from tests.robustness.traffic import Traffic

pytestmark = pytest.mark.etcd

REQUESTS = 400


@pytest.fixture
def etcd() -> Iterator[EtcdWorld]:
    world = EtcdWorld()
    yield world
    world.close()


def ask(etcd: EtcdWorld, request: Request) -> Outcome:
    try:
        answer: Outcome = etcd.call(METHODS[type(request)], request)
    except EtcdRpcError as error:
        return Refusal(error.code, error.text)
    return answer


@pytest.mark.parametrize("seed", range(8))
def test_model_answers_random_requests_as_etcd_does(etcd: EtcdWorld, seed: int) -> None:
    traffic, model = Traffic(Random(seed)), Model()
    for _ in range(REQUESTS):
        if traffic.chance(3):
            request: Request = traffic.compaction(model.revision, model.compacted)
        else:
            request = traffic.request(model.revision, model.compacted)
        before, got = model.copy(), ask(etcd, request)
        want = model.apply(request)
        assert same(got, want), tell([request], [got], before)


def test_model_answers_corners_as_etcd_does(etcd: EtcdWorld) -> None:
    """What random requests hardly ever hit."""
    model = Model()
    for name, request in CORNERS.items():
        before, got = model.copy(), ask(etcd, request)
        assert same(got, model.apply(request)), f"{name}: {tell([request], [got], before)}"
