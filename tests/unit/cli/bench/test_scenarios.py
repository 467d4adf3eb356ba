"""Scenarios: their names, and what the words of a command line mean."""

from __future__ import annotations

import pytest

from kubebraid.cli.bench.scenarios import UnknownScenario, choose, known, listing


def names(*words: str) -> list[str]:
    return [scenario.name for scenario in choose(words)]


def test_beginning_of_a_name_means_all_below_it() -> None:
    assert names("put") == ["put/1", "put/64", "put/256"]
    assert names("txn-mixed/r1w8") == [f"txn-mixed/r1w8/{n}" for n in (1, 64, 256)]
    assert names("list/100k") == [
        f"list/100k/{form}" for form in ("stream", "pages-500", "pages-10000", "one")
    ]


def test_words_choose_in_the_order_of_the_list_each_once() -> None:
    """Neighbours share servers, so the order is not the caller's."""
    assert names("range/64", "put/64", "put/*", "put/64") == [
        "put/1",
        "put/64",
        "put/256",
        "range/64",
    ]


def test_plain_run_leaves_out_what_takes_minutes() -> None:
    plain = names()
    assert "put/64" in plain
    assert "list/100k/one" in plain
    assert not [name for name in plain if name.startswith(("storage/", "kube/", "list/1m"))]
    others = [one.name for one in known() if not one.shards]
    assert names("all") == others
    assert len(others) > len(plain)


def test_unknown_word_is_refused_with_what_is_close() -> None:
    with pytest.raises(UnknownScenario, match=r"'put/46'.*put/64"):
        choose(["put/46"])


def test_scenarios_of_one_setting_follow_each_other() -> None:
    """Servers of a setting are started once, so no other may come in between."""
    settings = [s.setting.name if s.setting else s.name for s in known()]
    runs = [name for i, name in enumerate(settings) if i == 0 or settings[i - 1] != name]
    assert len(runs) == len(set(runs))


def test_listing_has_a_line_for_each() -> None:
    lines = listing().splitlines()
    assert len(lines) == len(known())
    assert any(line.startswith("* put/64 ") for line in lines)
    assert any(line.startswith("  storage/space ") for line in lines)
