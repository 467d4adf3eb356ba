"""The log: a line an event, in etcd's order, whatever an event holds."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubebraid.cli import logs
from kubebraid.cli.logs import fields
from kubebraid.cli.quiet_start import AWAY, LINKS, OPENED, QuietStart
from kubebraid.proto.links import endpoints


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Logging is the process's: pytest's own handlers come back."""
    root, ours = logging.getLogger(), logging.getLogger("kubebraid")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


LOG = logging.getLogger("kubebraid.test")


def test_json_line_has_etcds_keys_in_order_and_then_the_facts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.set_up("info", "json", "default")
    LOG.info("served", extra=fields(clients=("http://a:1",), pid=7, name="ünï"))
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    told = json.loads(line)
    assert list(told) == ["level", "ts", "logger", "msg", "clients", "pid", "name"]
    assert (told["level"], told["logger"], told["msg"]) == ("info", "kubebraid.test", "served")
    assert (told["clients"], told["pid"], told["name"]) == (["http://a:1"], 7, "ünï")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", told["ts"])


def test_console_line_is_separated_by_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", "console", "stdout")
    LOG.warning("slow", extra=fields(took_ms=131))
    LOG.info("plain")
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert err == ""
    assert first.split("\t")[1:] == ["warn", "kubebraid.test", "slow", '{"took_ms": 131}']
    assert second.split("\t")[1:] == ["info", "kubebraid.test", "plain"]


@pytest.mark.parametrize("form", logs.FORMATS)
def test_event_is_one_line_whatever_it_holds(capsys: pytest.CaptureFixture[str], form: str) -> None:
    logs.set_up("info", form, "stderr")
    with pytest.raises(ValueError, match="two") as caught:
        int("two\nlines")
    facts = fields(text="a\nb", raw=b"\xff\n")
    LOG.error("first\nsecond", exc_info=caught.value, extra=facts)
    (line,) = capsys.readouterr().err.splitlines()
    assert "test_event_is_one_line" in line, "the place of the error is told"
    assert "ValueError" in line


def test_fact_cannot_pass_for_a_key_of_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", "json", "stderr")
    LOG.info("true", extra=fields(msg="false", level="debug"))
    told = json.loads(capsys.readouterr().err)
    assert (told["msg"], told["level"]) == ("true", "info")
    assert (told["msg_"], told["level_"]) == ("false", "debug")


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", ["debug", "info", "warn", "error"]),
        ("info", ["info", "warn", "error"]),
        ("warn", ["warn", "error"]),
        ("error", ["error"]),
        ("dpanic", ["error"]),
        ("panic", ["error"]),
        ("fatal", ["error"]),
    ],
)
def test_level_is_the_least_that_is_heard(
    capsys: pytest.CaptureFixture[str], level: str, heard: list[str]
) -> None:
    logs.set_up(level, "json", "stderr")
    for method in (LOG.debug, LOG.info, LOG.warning, LOG.error):
        method("x")
    assert [json.loads(line)["level"] for line in capsys.readouterr().err.splitlines()] == heard


def test_libraries_are_heard_from_warnings_on(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("debug", "json", "stderr")
    logging.getLogger("asyncio").info("chatter")
    logging.getLogger("asyncio").warning("trouble")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["logger"] == "asyncio"


@pytest.mark.parametrize("form", logs.FORMATS)
def test_facts_of_a_plain_extra_are_told_too(capsys: pytest.CaptureFixture[str], form: str) -> None:
    """Modules below cli cannot use `fields`; what they told was lost once."""
    logs.set_up("info", form, "stderr")
    LOG.info("link opened", extra={"peer": "shard s", "incarnation": 7})
    LOG.info("both", extra={"peer": "a"} | fields(name="b"))
    first, second = capsys.readouterr().err.splitlines()
    if form == "json":
        assert list(json.loads(first))[3:] == ["msg", "peer", "incarnation"]
        assert (json.loads(second)["peer"], json.loads(second)["name"]) == ("a", "b")
    else:
        assert first.split("\t")[4] == '{"peer": "shard s", "incarnation": 7}'
        assert second.split("\t")[4] == '{"peer": "a", "name": "b"}'


def test_link_that_is_late_is_told_of_only_if_it_stays_away(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.set_up("info", "json", "stderr")
    (handler,) = logging.getLogger().handlers
    quiet = QuietStart(handler)
    handler.addFilter(quiet)
    links = logging.getLogger(LINKS)
    for address in ("a:1", "b:2"):
        links.warning(AWAY, extra={"address": address, "reason": "refused"})
    links.warning("link refused", extra={"address": "a:1"})
    LOG.warning(AWAY, extra={"address": "c:3"})
    links.info(OPENED, extra={"address": "a:1"})
    quiet.end()
    links.warning(AWAY, extra={"address": "a:1", "reason": "gone"})
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["msg"], line["address"]) for line in told] == [
        ("link refused", "a:1"),
        (AWAY, "c:3"),  # not of links, though it says the same
        (OPENED, "a:1"),
        (AWAY, "b:2"),
        (AWAY, "a:1"),
    ]


def test_quiet_start_knows_the_words_of_links() -> None:
    """If they change there, they have to change here."""
    source = Path(endpoints.__file__).read_text()
    for words in (LINKS, AWAY, OPENED):
        assert f'"{words}"' in source
