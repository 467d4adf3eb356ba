"""Flags of TLS to TiKV: files that go together, read before anything connects."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from kubebraid.cli.dev.argv import argv_of, specs
from kubebraid.cli.dev.config import parse_dev
from kubebraid.cli.dev.site import settle
from kubebraid.cli.flag_sources import BadFlags
from kubebraid.cli.role_config import parse_shard
from kubebraid.cli.serve_config import parse_serve
from kubebraid.cli.tikv_flags import tls_flags
from kubebraid.shard.storage.tikv_seam import Tls
from tests.e2e.processes import Peers
from tests.tikv.tls import Authority

ON_TIKV: Final = ("--engine=tikv", "--pd=a:1")
SHARD: Final = ("--name=shard-1", "--coordinators=c=127.0.0.1:3", "--listen=127.0.0.1:4")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return Authority(Peers(), tmp_path_factory.mktemp("pem") / "ours").signed("kubebraid")


def test_serve_and_a_shard_have_them_and_without_them_nothing_is_encrypted(files: Tls) -> None:
    assert parse_serve([*ON_TIKV, *tls_flags(files)], {}).tls == files
    assert parse_shard([*SHARD, *ON_TIKV, *tls_flags(files)], {}).tls == files
    assert parse_serve(ON_TIKV, {}).tls is None
    assert parse_shard([*SHARD, *ON_TIKV], {}).tls is None


def test_shards_of_a_dev_cluster_are_handed_them(
    files: Tls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(files.ca).parent)
    beside = Tls(*(Path(path).name for path in files))
    config = parse_dev([*ON_TIKV, *tls_flags(beside), f"--data-dir={tmp_path}", "--shards=2"], {})
    site = settle(config, None)
    shards = [spec for spec in specs(site) if spec.role == "shard"]
    told = [parse_shard(argv_of(spec, config, site)[1:], {}).tls for spec in shards]
    assert told == [files, files]


def test_files_that_do_not_fit_are_refused_by_name(files: Tls, tmp_path: Path) -> None:
    text = tmp_path / "text.pem"
    text.write_text("nothing\n")
    other = Authority(Peers(), tmp_path / "other").signed("other")
    missing = str(tmp_path / "none.pem")
    for wrong, sentence in (
        (files._replace(ca=missing), r"^--tikv-cacert=.*none\.pem: No such file or directory$"),
        (files._replace(key=str(tmp_path)), "^--tikv-key=.*: Is a directory$"),
        (files._replace(ca=str(text)), r"^--tikv-cacert=.*text\.pem is no certificate in PEM$"),
        (files._replace(cert=str(text)), r"^--tikv-cert=.*text\.pem and --tikv-key=.* are no cert"),
        (files._replace(key=other.key), "^--tikv-cert=.* are no certificate and its private key"),
    ):
        with pytest.raises(BadFlags, match=sentence):
            parse_serve([*ON_TIKV, *tls_flags(wrong)], {})


def test_all_three_are_needed_and_pd() -> None:
    with pytest.raises(BadFlags, match=r"^TLS to TiKV needs all of --tikv-cacert, --tikv-cert, "):
        parse_serve([*ON_TIKV, "--tikv-cacert=ca.pem"], {})
    with pytest.raises(BadFlags, match=r"^--tikv-cert, --tikv-key: --pd is not there$"):
        parse_serve(["--tikv-cert=a.pem", "--tikv-key=a.key"], {})
    variable = {"KUBEBRAID_TIKV_CERT": "a.pem"}
    with pytest.raises(BadFlags, match=r"all of --tikv-cacert, KUBEBRAID_TIKV_CERT, --tikv-key$"):
        parse_serve(ON_TIKV, variable)
