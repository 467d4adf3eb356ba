"""Listen URLs of Unix sockets, and whose a socket file is."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from kubebraid.proto.front_unix import PATH_BYTES_MAX, SocketFile
from kubebraid.proto.fronts import BadListenUrl, chosen_kind, is_path, listen_address
from kubebraid.proto.server import AddressInUse


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("unix:///run/kb.sock", "/run/kb.sock"),
        ("unix:/run/kb.sock", "/run/kb.sock"),
        ("unix://127.0.0.1:2379", "./127.0.0.1:2379"),
        ("unix://KB:1", "./KB:1"),
        ("unix://sub/kb.sock", "sub/kb.sock"),
        ("unix:///run/k%20b", "/run/k b"),
    ],
)
def test_unix_url_is_the_file_that_etcd_would_take(url: str, path: str) -> None:
    """server/embed/etcd.go resolveURL: host and path, joined."""
    assert listen_address(url) == path
    assert is_path(path)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("unix:name", "a path must follow"),
        ("unix://", "a path must follow"),
        ("unix:///", "a path must follow"),
        ("unix:///a?b", "only a path may follow"),
        ("unix:///a#b", "only a path may follow"),
        (f"unix:///{'x' * PATH_BYTES_MAX}", "over 107 bytes"),
        (f"unix:///{'ü' * 60}", "over 107 bytes"),
    ],
)
def test_unix_url_that_names_no_file_is_refused(url: str, reason: str) -> None:
    with pytest.raises(BadListenUrl, match=reason):
        listen_address(url)


def test_host_and_port_are_no_path() -> None:
    assert not is_path(listen_address("http://[::1]:2379"))


def test_auto_is_one_of_the_two() -> None:
    assert chosen_kind("auto") in ("native", "grpcio")
    assert (chosen_kind("native"), chosen_kind("grpcio")) == ("native", "grpcio")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kb.sock"


def bound(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    return listener


def mask() -> int:
    """This process's umask, which can only be read by setting it."""
    before = os.umask(0o022)
    os.umask(before)
    return before


def test_file_is_private_from_its_first_moment(path: Path) -> None:
    file, before = SocketFile(str(path)), mask()
    with file.made(), bound(path) as listener:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, "before the mode is set"
        listener.listen()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert mask() == before
    file.remove()
    assert not path.exists()
    file.remove()


def test_stale_file_is_removed_only_when_it_is_made_anew(path: Path) -> None:
    bound(path).close()
    file = SocketFile(str(path))
    assert file.check()
    assert path.exists(), "a check touches nothing"
    with file.made():
        assert not path.exists()
        bound(path).close()


def test_file_of_a_living_listener_is_refused(path: Path) -> None:
    with bound(path) as listener:
        listener.listen()
        for attempt in (SocketFile(str(path)).check, SocketFile(str(path)).made().__enter__):
            with pytest.raises(AddressInUse, match="another process does"):
                attempt()
        assert path.exists()


def test_what_is_no_socket_is_never_removed(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(AddressInUse, match="it exists and is no socket"):
        SocketFile(str(path)).check()
    assert path.read_text() == "precious"


def test_link_to_a_socket_is_no_socket(path: Path, tmp_path: Path) -> None:
    """To remove what it leads to could be somebody else's loss."""
    bound(tmp_path / "other").close()
    path.symlink_to(tmp_path / "other")
    with pytest.raises(AddressInUse, match="is no socket"):
        SocketFile(str(path)).check()


def test_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(AddressInUse, match=r"there is no folder .*gone"):
        SocketFile(str(tmp_path / "gone" / "kb.sock")).check()


def test_file_that_another_server_made_since_stays(path: Path) -> None:
    file = SocketFile(str(path))
    with file.made():
        bound(path).close()
    path.rename(path.with_suffix(".old"))  # kept, so that its inode is not given out again
    bound(path).close()
    file.remove()
    assert path.exists()


def test_failed_binding_leaves_mask_and_error(path: Path) -> None:
    before = mask()
    with pytest.raises(OSError, match="taken"), SocketFile(str(path)).made():
        raise OSError("taken")
    assert mask() == before
