"""Whether a store that was killed kept every promise that it had made to its clients.

What it is: the comparison of what clients noted with what the store says now, by way of a model:
the store's own history tells which writes happened, the model repeats them in that order, and then
every answer, event and row that anybody saw has to be the model's. What it is not: a search for an
order; revisions give it.

Invariants that are checked:
- an acknowledged write is in the history, at its revision, as a whole, and nowhere else;
- a refused write is not there; an unknown one at most once, and before its writer's next one;
- revisions have no gap (unless the test made writes fail), and every answer was the model's answer;
- what anybody read was so at the revision of the answer's header, and still is;
- each watch and its successors saw the history and nothing else (tests/robustness/validate.py);
- the rows of today and of earlier revisions are the model's.

Worked example: put x acknowledged at 5; after the kill the history goes 4, 6: Broken, "lost".

Tested in tests/faults/test_judge.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kubebraid.proto.etcd import kv_pb2, rpc_pb2
from tests.faults.clients import ALL, Connection, Load, Outcome, Read, Write, WriteRequest
from tests.robustness.checks import Refusal
from tests.robustness.model import Model
from tests.robustness.validate import Broken, events_of, judge
from tests.robustness.watching import Watcher

PAST_READS: Final = 40  # how many earlier revisions are read as a whole
VERSIONS_READ: Final = 500
History = Mapping[int, Sequence[kv_pb2.Event]]


def history_of(parts: Sequence[Watcher]) -> History:
    """What a watch of everything and its successors were told, by revision."""
    history: dict[int, list[kv_pb2.Event]] = {}
    last = 0
    for part in parts:
        for event in events_of(part.responses):
            if event.kv.mod_revision < last:
                raise Broken("Ordered", f"{event.kv.key!r} came after revision {last}")
            last = event.kv.mod_revision
            history.setdefault(last, []).append(event)
    return history


class Attribution:
    """Which write made which revision."""

    def __init__(self, writes: Sequence[Write]) -> None:
        self._at: dict[int, Write] = {}
        self._by_value: dict[bytes, Write] = {}
        self._deletes: dict[bytes, list[Write]] = {}
        self._made: dict[tuple[int, int], int] = {}
        self._last: dict[int, int] = {}  # writer -> number of its newest write in the history
        for write in writes:
            self._note(write)

    def _note(self, write: Write) -> None:
        for value in values(write.request):
            assert value not in self._by_value, "values are unique"
            self._by_value[value] = write
        if isinstance(write.request, rpc_pb2.DeleteRangeRequest):
            self._deletes.setdefault(write.request.key, []).append(write)
        if write.outcome is Outcome.ACKNOWLEDGED and write.changed:
            other = self._at.setdefault(write.revision, write)
            if other is not write:
                raise Broken("Unique", f"revision {write.revision}: {name(write)}, {name(other)}")

    def of(self, revision: int, events: Sequence[kv_pb2.Event]) -> Write:
        """The write that made this revision. Raises Broken."""
        write = self._at.get(revision) or self._guess(revision, events)
        if write.outcome is Outcome.REFUSED:
            raise Broken("Refused", f"{name(write)} was refused and is at {revision}")
        before = self._made.setdefault((write.writer, write.number), revision)
        if before != revision:
            raise Broken("Unique", f"{name(write)} is at {before} and at {revision}")
        if write.number < self._last.get(write.writer, -1):
            raise Broken("Settled", f"{name(write)} came after a later write of its client")
        self._last[write.writer] = write.number
        return write

    def _guess(self, revision: int, events: Sequence[kv_pb2.Event]) -> Write:
        """A write without an answer, by its unique value, or a deletion by its key's writer."""
        event = events[0]
        if event.type == kv_pb2.Event.PUT:
            write = self._by_value.get(event.kv.value)
        else:
            write = next(filter(self._open, self._deletes.get(event.kv.key, [])), None)
        if write is None:
            raise Broken("Foreign", f"nobody wrote {event} at {revision}")
        if write.outcome is Outcome.ACKNOWLEDGED:
            raise Broken("Unique", f"{name(write)} is at {revision}, told was {write.revision}")
        return write

    def _open(self, write: Write) -> bool:
        return (
            write.outcome is Outcome.UNKNOWN
            and (write.writer, write.number) not in self._made
            and write.number > self._last.get(write.writer, -1)
        )

    def check_complete(self, history: History) -> None:
        """Nothing acknowledged is missing."""
        for revision, write in sorted(self._at.items()):
            if revision not in history:
                raise Broken("Durable", f"{name(write)} was acknowledged at {revision} and is lost")


def build_model(writes: Sequence[Write], history: History, *, dense: bool) -> Model:
    """The history, repeated by the model; each answer compared. Raises Broken."""
    attribution = Attribution(writes)
    attribution.check_complete(history)
    model = Model()
    for revision in sorted(history):
        gap = revision - model.revision - 1
        if gap and dense:
            raise Broken("Dense", f"nothing at {model.revision + 1}, next is {revision}")
        for _ in range(gap):
            # A write that failed left its number unused.
            model.states[model.revision + 1] = model.state
            model.events[model.revision + 1] = ()
            model.revision += 1
        write = attribution.of(revision, history[revision])
        answer = model.apply(write.request)
        assert not isinstance(answer, Refusal), (write, answer)
        if model.revision != revision:
            raise Broken("Foreign", f"{name(write)} changes nothing and is at {revision}")
        if list(model.events[revision]) != list(history[revision]):
            raise Broken("Atomic", f"{revision} is {history[revision]}: {model.events[revision]}")
        if write.outcome is Outcome.ACKNOWLEDGED and bare(write.response) != answer:
            raise Broken("Answer", f"{name(write)} was told {write.response}, right is {answer}")
    return model


def judge_idle(writes: Sequence[Write], model: Model) -> None:
    """Deletions that found nothing were right to."""
    for write in writes:
        if write.outcome is Outcome.ACKNOWLEDGED and not write.changed:
            assert isinstance(write.request, rpc_pb2.DeleteRangeRequest)
            if write.request.key in model.states[write.revision]:
                raise Broken("Answer", f"{name(write)} found nothing at {write.revision}")


def judge_reads(reads: Sequence[Read], model: Model) -> None:
    """What was read was there, at that revision, and still is in that revision's past."""
    for read in reads:
        revision = read.response.header.revision
        if revision > model.revision:
            raise Broken("Durable", f"a read at {revision} was of a future that never came")
        if bare(read.response) != model.range_at(read.request, revision):
            raise Broken("Read", f"at {revision}: {read.response}")


def judge_watch(parts: Sequence[Watcher], model: Model) -> None:
    """One watch over all restarts."""
    for part in parts:
        if part.responses:
            judge(part.request, part.responses, model)
    complete_to = model.revision
    if parts[-1].next_revision() <= complete_to:
        raise Broken("Reliable", f"the watch ended before {complete_to}")


def judge_present(connection: Connection, model: Model) -> None:
    """The rows of today, of the past, and each key's own."""
    step = max(1, model.revision // PAST_READS)
    for revision in (0, model.revision, *range(max(1, model.compacted), model.revision, step)):
        request = rpc_pb2.RangeRequest(key=ALL, range_end=ALL, revision=revision)
        _same(connection, request, model)
        request.count_only = True
        _same(connection, request, model)
    for key in model.state:
        _same(connection, rpc_pb2.RangeRequest(key=key), model)


def judge_versions(connection: Connection, writes: Sequence[Write], model: Model) -> None:
    """Acknowledged puts, spread over all of them, each read at its own revision."""
    asked = []
    for write in writes:
        if write.outcome is Outcome.ACKNOWLEDGED and isinstance(write.request, rpc_pb2.PutRequest):
            request = rpc_pb2.RangeRequest(key=write.request.key, revision=write.revision)
            if write.revision >= model.compacted:
                asked.append(request)
    for request in asked[:: max(1, len(asked) // VERSIONS_READ)]:
        _same(connection, request, model)


def _same(connection: Connection, request: rpc_pb2.RangeRequest, model: Model) -> None:
    answer = bare(connection.call("KV/Range", request))
    right = model.range_at(request, model.revision)
    if answer != right:
        raise Broken("Read", f"{request} gives {answer}, right is {right}")


def judge_load(load: Load, *, dense: bool = True, compacted: int = -1) -> Model:
    """Everything, at the end of a test; the store has to be there. Raises Broken.

    `compacted` is where the test compacted to, after everybody had seen it.
    """
    load.finish()
    writes = load.writes()
    model = build_model(writes, history_of(load.watchings[0].parts), dense=dense)
    judge_idle(writes, model)
    model.compacted = compacted
    judge_reads(load.reader.reads, model)
    for watching in load.watchings:
        judge_watch(watching.parts, model)
    connection = Connection(load.port)
    try:
        judge_present(connection, model)
        judge_versions(connection, writes, model)
    finally:
        connection.close()
    return model


# -- small things ------------------------------------------------------------------------------


def values(request: WriteRequest) -> list[bytes]:
    """The values that a write puts."""
    if isinstance(request, rpc_pb2.PutRequest):
        return [request.value]
    if isinstance(request, rpc_pb2.TxnRequest):
        return [operation.request_put.value for operation in request.success]
    return []


def name(write: Write) -> str:
    """Short enough for a message."""
    kind = type(write.request).__name__.removesuffix("Request")
    return f"{kind} {write.number} of writer {write.writer} ({write.outcome.value})"


def bare(response: Any) -> Any:
    """An answer without who gave it."""
    for field in ("cluster_id", "member_id", "raft_term"):
        response.header.ClearField(field)
    for part in getattr(response, "responses", ()):
        inner = getattr(part, part.WhichOneof("response"))
        for field in ("cluster_id", "member_id", "raft_term"):
            inner.header.ClearField(field)
    return response
