"""The coordinators as a shard or a router sees them: SequencerPort and CoordinatorPort over links.

What it is: the newest state that any coordinator told, and the questions that wait for the one that
serves; when another one serves, what was not answered is asked again there. What it is not: the
links, the encoding, or a decision.

Words: the *serving* link is that of the coordinator which says that it holds the highest reign.

Invariants:
- the state never goes back: what a coordinator that lags tells is not passed on.

Worked example: a serves reign 3, then b tells that it serves reign 4: every question that a has not
answered goes to b.

Tested in tests/unit/proto/test_coordinator_client.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kubebraid.base import errors
from kubebraid.base.errors import RequestRefused
from kubebraid.base.links import Link
from kubebraid.base.ports import (
    Adoption,
    Alarm,
    ClusterView,
    ShardStart,
)
from kubebraid.base.revision import Revision
from kubebraid.base.tabletmap import TabletMap

from . import coordinator_wire as wire
from .coordinator_wire import Change, Changed, CoordinatorKind, MemberStatus
from .owner_wire import Malformed
from .reshard_client import ReshardClient


class CoordinatorClient(ReshardClient):
    """LinkUser for the links to all coordinators; implements SequencerPort and CoordinatorPort."""

    def __init__(self, on_view: Callable[[ClusterView], None]) -> None:
        """`on_view`: told each newer state, also when just the serving coordinator changed."""
        super().__init__()
        self._on_view = on_view
        self._views: dict[Link, ClusterView] = {}
        self._newest: ClusterView | None = None
        self._number = 0
        self._changes: dict[int, tuple[Link, Callable[[Changed], None]]] = {}
        self._asked: dict[int, tuple[Link, Callable[[MemberStatus | None], None]]] = {}
        self._start: ShardStart | None = None
        self._on_refused: Callable[[str], None] | None = None
        self._adopted: tuple[str, Adoption] | None = None

    # -- what is known -------------------------------------------------------------------------

    @property
    def view(self) -> ClusterView:
        """The newest state; there is one once `on_view` was called."""
        assert self._newest is not None, "nothing was heard yet"
        return self._newest

    @property
    def connected(self) -> bool:
        """Whether a coordinator that serves is known and reachable."""
        return self._serving is not None

    def tablet_map(self) -> TabletMap:
        return self.view.tablets

    def compact_revision(self) -> Revision:
        """The newest floor that anybody told, by state or sample."""
        return max(self._floor, self.view.floor)

    def alarms(self) -> frozenset[Alarm]:
        return self.view.alarms

    # -- CoordinatorPort -----------------------------------------------------------------------

    def set_alarm(
        self, alarm: Alarm, raised: bool, done: Callable[[bool | RequestRefused], None]
    ) -> None:
        def answered(changed: Changed) -> None:
            refused = _same(changed.refused)
            done(changed.was_raised if refused is None else refused)

        self._change(Change(0, None, alarm, raised), answered)

    def compact(self, revision: Revision, done: Callable[[RequestRefused | None], None]) -> None:
        self._change(Change(0, revision), lambda changed: done(_same(changed.refused)))

    def _change(self, change: Change, done: Callable[[Changed], None]) -> None:
        if self._serving is None:
            done(Changed(0, False, errors.NO_LEADER))
            return
        self._number += 1
        self._changes[self._number] = (self._serving, done)
        body = wire.encode_change(change._replace(number=self._number))
        self._serving.send(CoordinatorKind.CHANGE, body)

    # -- the operators' view -------------------------------------------------------------------

    def ask_status(self, done: Callable[[str, MemberStatus | None], None]) -> frozenset[str]:
        """Ask every coordinator that is connected; answers their names. `done` is told each one's
        name and answer, None where its link was lost first; one that hangs is never told of."""
        for link in self._views:
            self._number += 1
            self._asked[self._number] = (link, partial(done, link.peer.name))
            link.send(CoordinatorKind.STATUS, wire.encode_status_ask(self._number))
        return frozenset(link.peer.name for link in self._views)

    # -- a shard's start -----------------------------------------------------------------------

    def start_shard(self, start: ShardStart, on_refused: Callable[[str], None]) -> None:
        """Ask until a state names this incarnation, which `on_view` then tells."""
        self._start = start
        self._on_refused = on_refused
        self._send_start()

    def _send_start(self) -> None:
        start = self._start
        if self._serving is None or start is None:
            return
        known = self.view.shard(start.shard)
        if known is not None and known.incarnation == start.incarnation:
            self._start = None
        else:
            self._serving.send(CoordinatorKind.START_SHARD, wire.encode_start(start))

    def adopted(self, shard: str, adoption: Adoption) -> None:
        """Say that the store says this, until a state does, which `on_view` then tells."""
        self._adopted = shard, adoption
        self._send_adopted()

    def _send_adopted(self) -> None:
        if self._serving is None or self._adopted is None:
            return
        shard, adoption = self._adopted
        known = self.view.shard(shard)
        replaced = known is None or known.incarnation != adoption.incarnation
        if replaced or (known is not None and known.says(adoption)):
            self._adopted = None
        else:
            body = wire.encode_adopted(shard, adoption)
            self._serving.send(CoordinatorKind.SHARD_ADOPTED, body)

    # -- LinkUser ------------------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        """It says by itself what it knows."""

    def closed(self, link: Link) -> None:
        self._views.pop(link, None)
        lost = [number for number, (asked, _) in self._changes.items() if asked is link]
        for number in lost:
            _, done = self._changes.pop(number)
            done(Changed(number, False, errors.TIMED_OUT))
        unanswered = [number for number, (asked, _) in self._asked.items() if asked is link]
        for number in unanswered:
            _, told = self._asked.pop(number)
            told(None)
        self.reshard_lost(link)
        if link is self._serving:
            self._serving = None
            self._choose()

    def received(self, link: Link, kind: int, body: bytes) -> None:
        try:
            if not self.reshard_received(kind, body):
                self._received(link, kind, body)
        except Malformed:
            link.close()  # what waits for it is asked again where another one serves

    def _received(self, link: Link, kind: int, body: bytes) -> None:
        match kind:
            case CoordinatorKind.STATE:
                self._told(link, wire.decode_state(body))
            case CoordinatorKind.ALLOC_ANSWER:
                self.allocated(wire.decode_alloc_answer(body))
            case CoordinatorKind.REVISION_ANSWER:
                self.revision_read(wire.decode_revision_answer(body))
            case CoordinatorKind.CHANGE_ANSWER:
                changed = wire.decode_changed(body)
                if changed.number in self._changes:
                    _, answered = self._changes.pop(changed.number)
                    answered(changed)
            case CoordinatorKind.STATUS_ANSWER:
                number, status = wire.decode_status(body)
                if number in self._asked:
                    _, told = self._asked.pop(number)
                    told(status)
            case CoordinatorKind.SHARD_REFUSED:
                incarnation, why = wire.decode_shard_refused(body)
                if self._start is not None and incarnation == self._start.incarnation:
                    assert self._on_refused is not None
                    self._on_refused(why)
            case _:
                link.close()

    def _told(self, link: Link, view: ClusterView) -> None:
        self._views[link] = view
        newest = self._newest
        newer = newest is None or (view.applied, view.serves) > (newest.applied, newest.serves)
        if newer:
            self._newest = view
        self._choose()
        if newer:
            self._on_view(view)

    def _choose(self) -> None:
        """The serving link; what waits is asked again where it changed."""
        serving = [(view.cepoch, link) for link, view in self._views.items() if view.serves]
        best = max(serving, key=lambda pair: pair[0])[1] if serving else None
        if best is None or best is not self._serving:
            self._serving = best
            if best is not None:
                self.ask_again()
        self._send_start()
        self._send_adopted()


def _same(refused: RequestRefused | None) -> RequestRefused | None:
    """The constant that callers compare with."""
    for constant in (errors.COMPACTED, errors.NO_LEADER, errors.TIMED_OUT):
        if refused is not None and refused.message == constant.message:
            return constant
    return refused
