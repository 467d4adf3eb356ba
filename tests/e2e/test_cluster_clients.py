"""Client libraries that no one here wrote, on a cluster whose shards share what they write.

What it is: the programs of test_clients.py on the first router of a cluster, which is ended as a
whole and started again where they ask for it. What it is not: another judge; the programs judge,
and test_clients.py shows that each of them notices a store that has lost something.
"""

from __future__ import annotations

from typing import Final

import pytest

from tests.e2e.ledger import Ledger, buckets
from tests.e2e.processes import Peers, Supervisor
from tests.e2e.store import Kind, Store
from tests.e2e.test_clients import CLIENTS, Client, converse

pytestmark = [pytest.mark.e2e, pytest.mark.cluster]

LAYOUT: Final = buckets(32, "pods", "secrets", "leases", "configmaps")
# Some loops of a program go on for a time, not for a count, and on keys of one shard: of 160 to 270
# commits the least busy shard had 20 to 26 in a hundred.
CLIENT_SHARE_MIN: Final = 0.1
LIBRARIES: Final = CLIENTS[:2]  # Go and Python; Java's has no call that those two have not
# What each program finds otherwise than on one server, by the words of its finding. A lease ends at
# one revision a shard (tests/conformance/table.py), and lease_cycle wants all events at the last.
KNOWN: Final[dict[str, dict[str, str]]] = {
    "client-go": {"lease_cycle": "the revision is"},
    "client-python": {},
}


@pytest.mark.parametrize("client", LIBRARIES, ids=lambda client: str(client.name))
def test_library_works_on_a_cluster(supervisor: Supervisor, peers: Peers, client: Client) -> None:
    """Every scenario passes but those that are known, and every shard had its share."""
    path = peers.path(client.name)
    store = Store(supervisor, peers, Kind.CLUSTER, flags=(f"--tablets={LAYOUT}",))
    store.start()
    with Ledger(store.endpoints, LAYOUT) as ledger:
        program = supervisor.add(client.name, [path, store.endpoint], typed=True)
        said = converse(program, store)
        ledger.catch_up(store.etcdctl.revision())
    known = KNOWN[client.name]
    assert said.failures.keys() == known.keys(), said.failures
    assert all(words in said.failures[name] for name, words in known.items()), said.failures
    assert len(said.results) + len(known) == client.scenarios, sorted(said.results)
    assert said.restarts == client.restarts, said
    commits = ledger.judge(share_min=CLIENT_SHARE_MIN, gaps_max=said.restarts)
    print(f"{client.name}: {dict(commits)} commits over {ledger.connections} connections")
