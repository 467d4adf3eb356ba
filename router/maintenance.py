"""etcd's Maintenance, Cluster and Auth services, and gRPC health, as far as they exist here.

What it is: Status, MemberList, Alarm, AuthStatus, health; every other method answers
Unimplemented with what to do instead. What it is not: the operator's own API.

Invariant: Status names etcd 3.7.3, or kube-apiserver would turn its progress requests off.

Source: etcd server/etcdserver/api/v3rpc/{maintenance,member}.go; grpc health/v1. Tested in
tests/e2e/test_etcdctl.py, tests/unit/router/test_maintenance.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from kubebraid import ETCD_VERSION
from kubebraid.base import errors
from kubebraid.base.errors import Code, RequestRefused
from kubebraid.base.ports import Alarm, Sample
from kubebraid.proto import requests, responses
from kubebraid.proto.server import Edge

from .answers import Caller
from .context import Context
from .kv import KvService

UNKNOWN_SERVICE: Final = RequestRefused(Code.NOT_FOUND, "unknown service")

NOT_THERE: Final = {
    "MoveLeader": "there is no leader to move: every router serves",
    "Downgrade": "Downgrade does not apply; install the version you want",
    "MemberAdd": "members are not managed by this API; start another router instead",
    "MemberRemove": "members are not managed by this API; stop the router instead",
    "MemberUpdate": "members are not managed by this API; restart it with other listen URLs",
    "MemberPromote": "there are no learners",
}
AUTH_TEXT: Final = "users and roles are not there; limit access by network or by client certificate"


class MaintenanceService:
    """The answers that are about the server, not about keys."""

    def __init__(self, context: Context, kv: KvService) -> None:
        self._context = context
        self._kv = kv
        self._health_watches: set[tuple[Edge, int]] = set()

    def status(self, caller: Caller, payload: bytes) -> None:
        requests.check_empty(payload)

        def answer(sample: Sample) -> None:
            shards = [owner.status() for owner in self._context.owners.values()]
            figures = responses.Figures(
                ETCD_VERSION,
                ETCD_VERSION.rpartition(".")[0] + ".0",
                sum(shard.disk_bytes for shard in shards),
                sum(shard.used_bytes for shard in shards),
                self._context.quota_bytes,
                sample.revision,
                self._context.coordinator.alarms(),
            )
            caller.respond(sample.revision, responses.status(caller.header, figures))

        self._kv.with_sample(answer)

    def member_list(self, caller: Caller, payload: bytes) -> None:
        requests.check_empty(payload)
        context = self._context
        whole = responses.member_list(context.header, context.name, context.client_urls)
        caller.edge.respond(caller.call_id, whole)

    def alarm(self, caller: Caller, payload: bytes) -> None:
        """List, raise or disarm; as etcd, raising "none" or an unknown action does nothing."""
        action, member, kind = requests.alarm_request(payload)
        coordinator = self._context.coordinator

        def answer(sample: Sample) -> None:
            def tell(alarms: Iterable[Alarm]) -> None:
                caller.respond(sample.revision, responses.alarms(alarms))

            def told(was: bool | RequestRefused, concerned: bool) -> None:
                """A change whose outcome is unknown is no answer."""
                if isinstance(was, RequestRefused):
                    caller.fail(was)
                else:
                    tell((alarm,) if concerned else ())

            alarm = Alarm(member, kind)
            if action == requests.AlarmAction.GET:
                tell(a for a in coordinator.alarms() if kind in (0, a.kind))
            elif action == requests.AlarmAction.ACTIVATE and kind:
                coordinator.set_alarm(alarm, True, lambda was: told(was, True))
            elif action == requests.AlarmAction.DEACTIVATE:
                coordinator.set_alarm(alarm, False, lambda was: told(was, was is True))
            else:
                tell(())

        self._kv.with_sample(answer, caller)

    def auth_status(self, caller: Caller, payload: bytes) -> None:
        requests.check_empty(payload)
        self._kv.with_sample(
            lambda sample: caller.respond(sample.revision, responses.auth_disabled())
        )

    def health_check(self, caller: Caller, payload: bytes) -> None:
        if requests.health_service(payload):
            caller.fail(UNKNOWN_SERVICE)
        else:
            caller.edge.respond(caller.call_id, responses.serving(True))

    def health_list(self, caller: Caller, payload: bytes) -> None:
        requests.check_empty(payload)
        caller.edge.respond(caller.call_id, responses.health_list())

    def health_watch(self, caller: Caller, payload: bytes) -> None:
        """grpc.health.v1: an unknown service is told as such, and may come to be known."""
        known = not requests.health_service(payload)
        self._health_watches.add((caller.edge, caller.call_id))
        answer = responses.serving(True) if known else responses.service_unknown()
        caller.edge.send(caller.call_id, answer)

    def health_gone(self, edge: Edge, call_id: int) -> None:
        self._health_watches.discard((edge, call_id))

    def end_all(self) -> None:
        """A drain: whoever watches our health learns that it ends."""
        for edge, call_id in self._health_watches:
            edge.send(call_id, responses.serving(False))
            edge.fail(call_id, int(errors.STOPPED.code), errors.STOPPED.message)
        self._health_watches.clear()


def not_there(method: str, service: str) -> Callable[[Caller, bytes], None]:
    """The handler of a method that this server does not have."""
    text = AUTH_TEXT if service.endswith("Auth") else NOT_THERE[method]
    refused = errors.unimplemented(text)
    return lambda caller, _payload: caller.fail(refused)
