"""What a report says of its machine."""

from __future__ import annotations

from pathlib import Path

from kubebraid.cli.bench.machine import cpu_model, file_system, load_average, sync_ms

MOUNTS = """/dev/a / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
/dev/b /run/disk xfs rw 0 0
"""


def test_folder_is_on_the_file_system_nearest_to_it() -> None:
    assert file_system(Path("/var/x"), MOUNTS) == "ext4"
    assert file_system(Path("/run/disk/x"), MOUNTS) == "xfs"
    assert file_system(Path("/running"), MOUNTS) == "ext4"


def test_folder_in_memory_is_named() -> None:
    """Syncs cost nothing there, so a store that syncs less would look no better."""
    assert "IN MEMORY" in file_system(Path("/run/x"), MOUNTS)


def test_busy_machine_is_named() -> None:
    assert load_average(0.5, 2) == "0.50"
    assert "BUSY" in load_average(0.7, 2)


def test_processor_is_named() -> None:
    assert cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n") == "Some CPU @ 2 GHz"
    assert cpu_model("") != ""


def test_probe_of_the_disk_leaves_nothing(tmp_path: Path) -> None:
    assert sync_ms(tmp_path) > 0
    assert list(tmp_path.iterdir()) == []
