"""Questions to PD: past every proxy, and None for whatever is no answer."""

from __future__ import annotations

import pytest

from kubebraid.cli import pd_http

from .test_dev_tikv import pd

ASK_S = 5.0


def test_answer_is_the_value_at_the_path() -> None:
    with pd({"/pd/api/v1/leader": {"name": "pd-0"}, "/metrics": [1]}) as address:
        assert pd_http.value(address, "leader", ASK_S) == {"name": "pd-0"}
        assert pd_http.text(address, "/metrics", ASK_S) == "[1]"
        assert pd_http.value(address, "regions", ASK_S) is None, "503"
        assert pd_http.value(address, "leader", ASK_S, "DELETE") is None, "it knows no such method"


def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pd({}) as nobody:
        pass
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://{nobody}")
    with pd({"/pd/api/v1/leader": {}}) as address:
        assert pd_http.value(address, "leader", ASK_S) == {}


@pytest.mark.parametrize("body", [b"", b"{", b"\xff"])
def test_what_is_no_json_is_no_value(body: bytes) -> None:
    with pd({"/pd/api/v1/leader": body}) as address:
        assert pd_http.value(address, "leader", ASK_S) is None


@pytest.mark.parametrize("address", ["[", "a b:1", "127.0.0.1:x"])
def test_address_that_is_none_is_a_silent_pd(address: str) -> None:
    assert pd_http.text(address, "/metrics", ASK_S) is None
