"""Addresses: what is one, and which stay on this machine."""

from __future__ import annotations

import pytest

from kubebraid.proto.links.addresses import (
    Address,
    AddressRefused,
    check_open,
    is_literal,
    parse,
    resolve,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:7000", Address("127.0.0.1", 7000)),
        ("[::1]:7000", Address("::1", 7000)),
        ("shard-1.shards:0", Address("shard-1.shards", 0)),
    ],
)
def test_address_is_read_and_written(text: str, address: Address) -> None:
    assert parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["", "7000", ":7000", "host:", "host:x", "host:-1", "host:65536", "::1:7000", "host:²"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressRefused):
        parse(text)


def test_literal_addresses_ask_nobody() -> None:
    assert is_literal(parse("127.0.0.1:1"))
    assert is_literal(parse("[::1]:1"))
    assert not is_literal(parse("localhost:1"))


@pytest.mark.parametrize("text", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1"])
def test_loopback_needs_no_secret(text: str) -> None:
    address = parse(text)
    check_open(address, resolve(address))


@pytest.mark.parametrize("text", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[2001:db8::1]:1"])
def test_other_addresses_need_one(text: str) -> None:
    address = parse(text)
    with pytest.raises(AddressRefused):
        check_open(address, resolve(address))


def test_host_of_which_one_address_is_not_loopback_needs_one() -> None:
    both = resolve(parse("127.0.0.1:1")) + resolve(parse("192.0.2.1:1"))
    with pytest.raises(AddressRefused):
        check_open(parse("both:1"), both)
    with pytest.raises(AddressRefused):
        check_open(parse("neither:1"), [])
