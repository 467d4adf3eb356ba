"""The output of both load tools, recorded, as values."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from kubebraid.cli.bench.figures import P50, P99, P999
from kubebraid.cli.bench.outputs import NotUnderstood, bench_load, benchmark

RECORDED: Final = Path(__file__).parent / "recorded"


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text()


def test_report_of_puts_is_read() -> None:
    text = recorded("put")
    (put,) = benchmark(text, ("put",))
    assert (put.name, put.ops, put.errors) == ("put", 2_000, 0)
    told = float(text.split("Requests/sec:")[1].split()[0])
    assert put.rate == pytest.approx(told, rel=1e-6)
    assert 0 < put.latency_ms[P50] < put.latency_ms[P99] < put.latency_ms[P999]
    assert put.latency_ms[P99] == pytest.approx(
        float(text.split("99% in ")[1].split()[0]) * 1e3, rel=1e-9
    )


def test_report_of_two_kinds_of_request_has_two_sections() -> None:
    text = recorded("txn-mixed")
    reads, writes = benchmark(text, ("read", "write"))
    assert (reads.name, writes.name) == ("read", "write")
    assert reads.ops == int(text.split("Total Read Ops: ")[1].split()[0])
    assert writes.ops == int(text.split("Total Write Ops: ")[1].split()[0])
    assert reads.ops + writes.ops == 400
    assert P999 not in reads.latency_ms, "400 samples say nothing of 99.9 %"


def test_headlines_that_end_in_summary_are_not_sections() -> None:
    put, events = benchmark(recorded("watch-latency"), ("put", "events"))
    assert (put.ops, events.ops) == (100, 100 * 2 * 5)


def test_failed_requests_are_counted_beside_those_that_were_done() -> None:
    (put,) = benchmark(recorded("put-with-errors"), ("put",))
    assert (put.ops, put.errors) == (1_181, 19)
    assert put.first_error == "etcdserver: mvcc: database space exceeded"


def test_report_of_nothing_but_failures_has_no_summary() -> None:
    text = "\nError distribution:\n  [7]\tcontext deadline exceeded\n"
    (put,) = benchmark(text, ("put",))
    assert (put.ops, put.errors, put.first_error) == (0, 7, "context deadline exceeded")


@pytest.mark.parametrize("text", ["", "usage: benchmark", "Summary:\n  Slowest: 1 secs.\n"])
def test_other_text_is_refused_and_no_zero(text: str) -> None:
    with pytest.raises(NotUnderstood):
        benchmark(text, ("put",))


def test_fewer_sections_than_named_are_refused() -> None:
    with pytest.raises(NotUnderstood, match="1 summaries came, not 2"):
        benchmark(recorded("put"), ("read", "write"))


def test_lines_of_bench_load_are_read() -> None:
    put, delivery = bench_load(recorded("bench-load-watch"))
    assert (put.name, put.ops, delivery.name, delivery.ops) == ("put", 200, "delivery", 800)
    assert put.errors == delivery.errors == 0
    assert 0 < delivery.latency_ms[P50] <= delivery.latency_ms[P99]
    assert delivery.bytes > 800 * 256
    assert put.client_cpu_s > 0


def test_failures_of_bench_load_are_read() -> None:
    (created,) = bench_load(recorded("bench-load-create-with-errors"))
    assert (created.ops, created.errors) == (5, 5)
    assert "compare failed" in created.first_error


@pytest.mark.parametrize("text", ["", "panic: oh", '{"name": "put"}'])
def test_other_text_than_lines_of_results_is_refused(text: str) -> None:
    with pytest.raises(NotUnderstood):
        bench_load(text)
