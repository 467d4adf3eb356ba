"""Client libraries that no one here wrote find in KubeBraid what they find in etcd.

Each program of tests/clients/ uses one library for what it is there for, says what came out in one
line of JSON for each scenario, and asks for an end of the store where a scenario needs one. It
runs on a real etcd first: what does not pass there measures nothing. And it runs on a store that
comes back empty, which it has to notice: a program that finds everything good finds nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.e2e.processes import Peers, Process, Supervisor, wait_for
from tests.e2e.store import UNDER_TEST, Kind, Store

pytestmark = pytest.mark.e2e

PROGRAM_S_MAX: Final = 110.0  # a program gives up by itself before
LOSING: Final = "restart_watch"  # the scenario of each program that a lost write has to fail
RESTARTS_MAX: Final = 4


@dataclass(frozen=True)
class Client:
    """A program of tests/clients: what it is called, and how many scenarios it has."""

    name: str
    scenarios: int
    restarts: int  # how often it asks for an end of the store


CLIENTS: Final = (
    Client("client-go", 42, 2),
    Client("client-python", 9, 1),
    Client("client-java", 10, 1),
)


@dataclass(frozen=True)
class Said:
    """What a program said before it ended."""

    code: int
    restarts: int  # ends of the store, each a process that is gone and a new one behind it
    results: dict[str, str]  # scenario -> what it saw
    failures: dict[str, str]


@pytest.fixture(
    scope="module",
    params=UNDER_TEST if Kind.ETCD in UNDER_TEST else (Kind.ETCD, *UNDER_TEST),
    ids=lambda kind: str(kind.value),
)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Which store is under test: always etcd too, as the measure."""
    assert isinstance(request.param, Kind)
    return request.param


@pytest.fixture(params=CLIENTS, ids=lambda client: str(client.name))
def client(request: pytest.FixtureRequest) -> Client:
    """Which library."""
    assert isinstance(request.param, Client)
    return request.param


def lines(program: Process) -> list[dict[str, Any]]:
    """The whole lines of JSON so far; the rest of its log is the library's."""
    text = program.text()
    whole = text[: text.rfind("\n") + 1].splitlines()
    found = [json.loads(line) for line in whole if line.startswith(('{"ask"', '{"name"'))]
    assert all(isinstance(line, dict) for line in found), found
    return found


def converse(program: Process, store: Store, *, empty: bool = False) -> Said:
    """Start the program and do what it asks for until it ends."""
    program.start()
    answered = 0

    def asked_or_ended() -> list[dict[str, Any]] | None:
        asks = [line for line in lines(program) if "ask" in line]
        return [{}] if not program.alive else asks[answered:]

    while (asked := wait_for("the program's word", asked_or_ended, PROGRAM_S_MAX)) and asked[0]:
        answered += 1
        assert answered <= RESTARTS_MAX, "it asks for one restart after the other"
        # On SIGTERM etcd waits 7 s for streams that nobody ends.
        if asked[0]["ask"] == "kill" or store.kind is Kind.ETCD:
            store.kill()
        else:
            store.terminate()
        if empty:
            store.data_dir.rename(store.data_dir.with_name(f"lost-{answered}"))
        store.start()
        program.write("done\n")
    results = [line for line in lines(program) if "name" in line]
    assert len({line["name"] for line in results}) == len(results), results
    return Said(
        program.wait(1),
        answered,
        {line["name"]: line["detail"] for line in results if line["ok"]},
        {line["name"]: line["detail"] for line in results if not line["ok"]},
    )


def test_library_works(supervisor: Supervisor, peers: Peers, kind: Kind, client: Client) -> None:
    """Every scenario passes."""
    program_path = peers.path(client.name)
    store = Store(supervisor, peers, kind)
    store.start()

    said = converse(supervisor.add(client.name, [program_path, store.endpoint], typed=True), store)

    assert not said.failures, "\n".join(f"{name}: {why}" for name, why in said.failures.items())
    assert said.code == 0, said
    assert len(said.results) == client.scenarios, sorted(said.results)
    # Here and not in the programs: a library that repeats its writes may see no failure of any.
    assert said.restarts == client.restarts, said


def test_library_notices_a_store_that_lost_all(
    supervisor: Supervisor, peers: Peers, client: Client
) -> None:
    """A store that is empty behind the restart: whoever finds that good would find anything good.

    One kind is enough, as it is the program that is tested here.
    """
    program_path = peers.path(client.name)
    store = Store(supervisor, peers, Kind.NATIVE)
    store.start()
    argv = [program_path, store.endpoint, LOSING]

    said = converse(supervisor.add(client.name, argv, typed=True), store, empty=True)

    assert list(said.failures) == [LOSING], said
    assert said.code == 1, said
