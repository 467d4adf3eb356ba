"""Routers for the tests of `kubebraid ctl`: gRPC servers that reshard as a test says.

What it is: `FakeCluster`, one set of migrations that lists step on phase by phase, and `serving`, a
router before it. What it is not: a router; nothing is planned here.

Worked example: a cluster of `("preparing", "done")` tells the first list that its migration is
being prepared, the second and each later one that it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import grpc

from kubebraid.base.reshard import Control, HandOver
from kubebraid.proto import adminreshard as wire
from kubebraid.proto.adminreshard import Part, Plan, PlanRequest, Progress, Step
from kubebraid.proto.adminwire import CLUSTER_STATUS, ClusterStatus, encode_status

from .ctl_status import HEALTHY

PODS: Final = Part(7, "pods", "/registry/pods", "/registry/pods0", 0, 1)
MOVE: Final = Step("move-pods-1", "move", "s0", "s1", (PODS,), (PODS,), bytes=100 << 20)
HALVES: Final = (
    Part(0, "pods-1", "/registry/pods", "/registry/pods/m", 0, 1),
    Part(0, "pods-2", "/registry/pods/m", "/registry/pods0", 0, 1),
)
SPLIT: Final = Step("split-pods-2", "split", "s0", "s0", (PODS,), HALVES, pause_ms=40)
TOKEN: Final = b"the plan itself"


class Refusal(Exception):
    """What a router answers instead."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class FakeCluster:
    """`phases`: of its only migration, one a list; the last one stays."""

    def __init__(self, *phases: str, step: Step = MOVE, why: str = "") -> None:
        self.plan = Plan(5, (step,), (), TOKEN)
        self.status: ClusterStatus = HEALTHY
        self.step = step
        self.why = why
        self.recorded = 0
        self.requests: list[PlanRequest] = []
        self.controls: list[Control] = []
        self.removed: list[str] = []
        self.handed: list[HandOver] = []
        self.lists = 0
        self.others: tuple[Progress, ...] = ()  # of the same plan
        self.refusals: dict[str, list[Refusal]] = {}
        self._phases = list(phases)

    @property
    def now(self) -> Progress:
        """The migration as the next list has it."""
        phase = self._phases[min(self.lists, len(self._phases) - 1)]
        return Progress(
            self.step,
            phase,
            why=self.why,
            switch_ms=12 if phase in ("draining", "done") else 0,
            bytes=10 << 20,
            rows=9,
            verified=phase not in ("planned", "preparing", "aborted"),
        )

    def answer(self, method: str, body: bytes) -> bytes:
        """Raises Refusal."""
        if self.refusals.get(method):
            raise self.refusals[method].pop(0)
        match method:
            case wire.PLAN_RESHARD:
                return self._planned(wire.decode_plan_request(body))
            case wire.CONTROL_RESHARD:
                self.controls.append(wire.decode_control(body))
                return wire.encode_done()
            case wire.REMOVE_SHARD:
                self.removed.append(wire.decode_remove(body))
                return wire.encode_removed()
            case wire.HAND_OVER_SHARD:
                self.handed.append(wire.decode_hand_over(body))
                return wire.encode_handed_over()
            case wire.LIST_RESHARD:
                return wire.encode_list(self._listed(wire.decode_list_request(body)))
            case _:
                assert method == CLUSTER_STATUS, method
                return encode_status(self.status)

    def _planned(self, request: PlanRequest) -> bytes:
        if not request.token:
            assert request.dry_run, "ctl shows before it does"
            self.requests.append(request)
            return wire.encode_plan(self.plan)
        assert request.token == TOKEN
        self.recorded += 1
        return wire.encode_plan(self.plan._replace(recorded=True))

    def _listed(self, ids: tuple[str, ...]) -> tuple[Progress, ...]:
        found = self.now
        self.lists += 1
        return tuple(m for m in (found, *self.others) if not ids or m.step.id in ids)


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, answer: Callable[[str, bytes], bytes]) -> None:
        self._answer = answer

    def service(
        self, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        method = details.method

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            try:
                return self._answer(method, request)
            except Refusal as refusal:
                context.abort(refusal.code, refusal.text)
                raise

        return grpc.unary_unary_rpc_method_handler(answer)


@contextmanager
def serving(cluster: FakeCluster) -> Iterator[str]:
    """A router's endpoint."""
    with ThreadPoolExecutor(1) as executor:
        server = grpc.server(executor, [_Handler(cluster.answer)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.stop(0).wait()
