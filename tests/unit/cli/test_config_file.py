"""Configuration files: text as it is written, and a place for every complaint."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubebraid.cli.config_file import BadConfigFile, read_config_file


def read(folder: Path, text: str, name: str = "kb.yaml") -> list[tuple[str, str]]:
    path = folder / name
    path.write_text(text)
    return read_config_file(str(path))


def test_scalars_are_taken_as_written(tmp_path: Path) -> None:
    """YAML alone would make 7, 13800, True and a float of these names."""
    text = "name: 007\ndata-dir: 03:50:00\nfront: yes\nengine: 1e3\ntablets: '# no comment'\n"
    assert read(tmp_path, text) == [
        ("name", "007"),
        ("data-dir", "03:50:00"),
        ("front", "yes"),
        ("engine", "1e3"),
        ("tablets", "# no comment"),
    ]


@pytest.mark.parametrize("value", ["", "''", "~", "null", "false", "no", "Off", "[]", "{a: }"])
def test_key_that_asks_for_nothing_is_left_out(tmp_path: Path, value: str) -> None:
    assert read(tmp_path, f"wal-dir: {value}\nname: a\n") == [("name", "a")]


def test_list_is_its_parts_and_group_what_it_asks_for(tmp_path: Path) -> None:
    text = "log-outputs: [stderr, stdout]\nclient-transport-security: {auto-tls: no, cert-file: /c}"
    assert read(tmp_path, text) == [
        ("log-outputs", "stderr,stdout"),
        ("client-transport-security", "/c"),
    ]


def test_toml_is_read_the_same_way(tmp_path: Path) -> None:
    text = (
        'name = "007"\nmax-txn-ops = 7\npre-vote = false\nlog-outputs = ["stderr"]\n'
        '[group]\na = "x"\n'
    )
    assert read(tmp_path, text, "kb.toml") == [
        ("name", "007"),
        ("max-txn-ops", "7"),
        ("log-outputs", "stderr"),
        ("group", "x"),
    ]


def test_empty_file_asks_for_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "# nothing\n") == read(tmp_path, "", "kb.toml") == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("kb.yaml", "name: a\ndata-dir: b\nname: c\n", "kb.yaml:3: name stands twice"),
        ("kb.yaml", "name: [a\n", "kb.yaml is no YAML: .*line 2"),
        ("kb.yaml", "just words\n", "kb.yaml has no keys"),
        ("kb.toml", "name = a\n", "kb.toml: .*line 1"),
        ("kb.toml", "name = 'a'\nname = 'b'\n", "kb.toml: "),
        ("kb.toml", "name = 1979-05-27\n", "kb.toml: name is no text and no number"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    with pytest.raises(BadConfigFile, match=words) as caught:
        read(tmp_path, text, name)
    assert "\n" not in str(caught.value)
    assert caught.value.definite


def test_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadConfigFile, match=r"gone\.yaml cannot be read: No such file"):
        read_config_file(str(tmp_path / "gone.yaml"))
    (tmp_path / "raw.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadConfigFile, match=r"raw\.yaml cannot be read: it is not UTF-8"):
        read_config_file(str(tmp_path / "raw.yaml"))
