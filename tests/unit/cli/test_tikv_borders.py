"""The keys at which TiKV's regions should begin."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubebraid.__main__ import main
from kubebraid.cli.layouts import read_layout
from kubebraid.cli.tikv_borders import borders_of, encoded
from kubebraid.shard import keycodec

A = b"kubebraid\0\6prod/a"
B = b"kubebraid\0\6prod/b"
PROD = b"kubebraid\0\0s\4prod"


def printed(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    assert main(["ctl", "tikv-borders", *flags]) == 0
    return capsys.readouterr().out


def test_one_tablet_has_four_borders_in_the_space_that_its_shards_share(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The worked example of the module."""
    flags = ("--tikv-store=prod", "--shards=a,b", "--tablets=single")
    lines = [bytes.fromhex(line) for line in printed(capsys, *flags).splitlines()]
    fence, log = b"f\0\0\0\1", b"l\0\0\0\1" + bytes(8)
    assert lines == [PROD, PROD + fence, PROD + b"h", PROD + log, PROD + b"n", A, B]


def test_store_of_serve_has_no_slash(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "--tikv-store=kubebraid", "--tablets=single").splitlines()
    assert lines[0] == b"kubebraid\0\x09kubebraid".hex()
    assert len(lines) == 5


def test_body_for_pd_has_the_same_keys_encoded(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--tikv-store=prod", "--shards=a,b,c", "--tablets=kubernetes")
    lines = printed(capsys, *flags).splitlines()
    body = json.loads(printed(capsys, *flags, "--pd-json"))
    assert body == {"split_keys": [encoded(bytes.fromhex(line)).hex() for line in lines]}
    assert len(lines) > 100


def test_layout_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ctl", "tikv-borders", "--tikv-store=p", "--tablets=registry=3"]) == 2
    assert "--tablets" in capsys.readouterr().err


def test_every_row_of_a_tablet_lies_between_a_border_of_its_own_and_the_next_one() -> None:
    tablets = read_layout("/registry/pods/=2,/registry/leases/", ["a", "b"])
    borders = borders_of(tablets, PROD, [PROD, A, B])

    def region(stored: bytes) -> bytes:
        return max(border for border in borders if border <= PROD + stored)

    seen: dict[bytes, set[bytes]] = {}
    for key in (b"/registry/leases/x", b"/registry/pods/a", b"/registry/pods/b\0", b"a", b"\xff"):
        tablet = tablets.tablet_of(key)
        for stored in (
            keycodec.newest(key),
            keycodec.history(key, 7),
            keycodec.log(tablet.id, 7),
            keycodec.fence(tablet.id),
        ):
            border = region(stored)
            assert border.startswith(PROD + stored[:1]), "of its own kind"
            seen.setdefault(border, set()).add(tablet.span.start)
    assert all(len(ranges) == 1 for ranges in seen.values()), "one range's only"
    assert borders == sorted(set(borders))


@pytest.mark.parametrize(
    ("key", "stored"),
    [
        (b"", "0000000000000000f7"),
        (b"\1\2\3", "0102030000000000fa"),
        (b"\1\2\3\4\5\6\7\x08", "0102030405060708ff0000000000000000f7"),
    ],
)
def test_encoding_is_that_of_tikv(key: bytes, stored: str) -> None:
    """The examples of TiKV's and TiDB's sources."""
    assert encoded(key).hex() == stored


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_encoded_keys_sort_as_the_keys(left: bytes, right: bytes) -> None:
    assert (left < right) == (encoded(left) < encoded(right))
