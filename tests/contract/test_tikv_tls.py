"""The engine on a TiKV cluster that wants TLS: what it shows, and whom it trusts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Final, NamedTuple

import pytest

from kubebraid.shard.storage import tikv_link
from kubebraid.shard.storage.engine import Batch
from kubebraid.shard.storage.tikv import TikvEngine
from kubebraid.shard.storage.tikv_errors import EngineUnavailable
from kubebraid.shard.storage.tikv_seam import Tls
from kubebraid.shard.storage.tikv_tls import HUNG_UP, trouble
from tests.e2e.processes import Peers
from tests.e2e.store import need_own_tikv_client
from tests.tikv.cluster import Cluster
from tests.tikv.tls import Authority, Encrypted, encrypted

pytestmark = pytest.mark.tikv

ROWS: Final = 50
SHORT_S: Final = 1.0


class Site(NamedTuple):
    """A cluster whose clients have to speak TLS."""

    cluster: Cluster
    relays: Encrypted
    ours: Authority
    stranger: Authority
    tls: Tls

    @property
    def pd(self) -> list[str]:
        """As clients are given it."""
        return [self.cluster.pd_address]

    @property
    def store(self) -> int:
        """The port of its store's relay."""
        (port,) = self.relays.shown.keys() - {self.cluster.told_pd_port}
        return port


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    need_own_tikv_client()
    folder, peers = tmp_path_factory.mktemp("tls"), Peers()
    ours, stranger = Authority(peers, folder / "ours"), Authority(peers, folder / "stranger")
    with encrypted(folder / "tikv", ours) as (relays, cluster):
        yield Site(cluster, relays, ours, stranger, ours.signed("kubebraid"))


@pytest.fixture(autouse=True)
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tikv_link.CHOICE, "native")


def test_rows_are_written_and_read_with_every_connection_in_tls(site: Site) -> None:
    rows = {b"key-%03d" % at: b"value-%d" % at for at in range(ROWS)}
    with closing(TikvEngine.open(site.pd, b"tls", create=True, tls=site.tls)) as engine:
        batch = Batch()
        for key, value in rows.items():
            batch.put(key, value)
        engine.write(batch, sync=True)
        with closing(engine.snapshot()) as snapshot:
            assert dict(snapshot.scan(b"key-", b"key.", ROWS + 1)) == rows
    assert site.relays.shown[site.cluster.told_pd_port] > 0
    assert site.relays.shown[site.store] > 0
    assert not site.relays.refused


def test_cluster_that_another_authority_has_signed_is_not_trusted(site: Site) -> None:
    tls = site.tls._replace(ca=site.stranger.ca)
    told = f"^connect to PD in TLS: {site.pd[0]}: certificate verify failed: "
    with pytest.raises(EngineUnavailable, match=told):
        TikvEngine.open(site.pd, b"untrusted", create=True, tls=tls)


def test_who_shows_a_certificate_of_another_authority_is_refused(site: Site) -> None:
    tls = site.stranger.signed("intruder")._replace(ca=site.ours.ca)
    before = site.relays.refused[site.cluster.told_pd_port]
    told = f"^connect to PD in TLS: {site.pd[0]}: ({HUNG_UP}|tlsv1 alert unknown ca)$"
    with pytest.raises(EngineUnavailable, match=told):
        TikvEngine.open(site.pd, b"intruder", create=True, tls=tls)
    assert site.relays.refused[site.cluster.told_pd_port] > before


def test_pd_that_is_silent_or_away_is_told_as_that(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert trouble([address], site.tls, SHORT_S) == f"{address}: no answer in time"
    assert trouble([address], site.tls, SHORT_S) == f"{address}: Connection refused"
    assert trouble(site.pd, site.tls, SHORT_S) == ""
