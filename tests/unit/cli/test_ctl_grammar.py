"""What can be said to `kubebraid ctl`, and what is refused before anybody is asked."""

from __future__ import annotations

import pytest

from kubebraid.__main__ import main
from kubebraid.cli.ctl import grammar
from kubebraid.cli.ctl.grammar import COMMANDS, FLAGS, help_text, parse

Capture = pytest.CaptureFixture[str]


def test_every_flag_of_a_command_is_one_that_is_known() -> None:
    for command in COMMANDS:
        assert command.flags <= FLAGS.keys(), command
    assert {flag for command in COMMANDS for flag in command.flags} == FLAGS.keys() - {"endpoint"}


@pytest.mark.parametrize(
    ("argv", "words", "names"),
    [
        (["rebalance"], ("rebalance",), ()),
        (["tablet", "merge", "a", "b", "c"], ("tablet", "merge"), ("a", "b", "c")),
        (["--yes", "tablet", "--to=s", "move", "a"], ("tablet", "move"), ("a",)),
        (["reshard", "status", "--watch", "m"], ("reshard", "status"), ("m",)),
    ],
)
def test_words_and_flags_in_any_order(
    argv: list[str], words: tuple[str, ...], names: tuple[str, ...]
) -> None:
    asked = parse(argv)
    assert asked is not None
    assert (asked.command.words, asked.names) == (words, names)


@pytest.mark.parametrize(
    "argv",
    [["tablet", "merge"], ["tablet", "move", "a", "b"], ["reshard"], ["reshard", "status"], []],
)
def test_wrong_number_of_names_is_no_command(argv: list[str]) -> None:
    assert parse(argv) is None


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (
            ["tablet", "merge", "a", "b", "--to=s1"],
            "--to says nothing to 'tablet merge TABLET ...'",
        ),
        (["tablet", "list", "--yes"], "--yes says nothing to 'tablet list'"),
        (["status", "--watch"], "--watch says nothing"),
        (["reshard", "cancel", "m", "--max-pause=1s"], "--max-pause says nothing"),
        (["rebalance", "--yes", "--yes"], "--yes is given twice"),
        (["tablet", "split", "a", "--hash=1"], "--hash: invalid"),
        (["tablet", "split", "a", "--parts=x"], "--parts: invalid"),
        (["reshard", "switch", "m", "--max-pause=100"], "--max-pause: invalid"),
        (["reshard", "switch", "m", "--max-pause=0ms"], "--max-pause: invalid"),
        (["reshard", "throttle", "m", "--rate=fast"], "--rate: invalid"),
    ],
)
def test_wrong_flag_is_told_with_exit_code_2(argv: list[str], text: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["ctl", *argv])
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


def test_yes_may_be_said_to_every_word_about_a_migration() -> None:
    for verb in ("switch", "reverse", "cancel", "complete"):
        assert parse(["reshard", verb, "m", "--yes"]) is not None


@pytest.mark.parametrize(
    ("text", "ms"), [("100ms", 100), ("2s", 2_000), ("1.5s", 1_500), ("1m", 60_000), ("3 MS", 3)]
)
def test_durations(text: str, ms: int) -> None:
    assert grammar.duration_ms(text) == ms


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("10MB", 10**7), ("10MB/s", 10**7), ("64MiB", 64 << 20), ("1.5kib", 1_536)],
)
def test_rates(text: str, size: int) -> None:
    assert grammar.rate(text) == size


def test_help_names_the_commands_and_flags_of_what_is_named(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["ctl", "reshard", "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "reshard switch ID" in told
    assert "--max-pause=100ms" in told
    assert "tablet split" not in told
    assert "--hash" not in told
    assert "exit codes: 0 done, 1 refused and nothing changed, 2 usage, 3 outcome unknown" in told


def test_help_of_one_command_and_of_all() -> None:
    assert "--watch" in help_text(["reshard", "status"])
    assert "--watch" not in help_text(["reshard", "list"])
    assert "--watch" in help_text(["reshard", "status", "m1"])
    for command in COMMANDS:
        assert command.text in help_text([])
    assert help_text(["dance"]) == help_text([])
