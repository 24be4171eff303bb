"""The benchmarks' modules import their neighbour `harness`; their figures end the report."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))


def pytest_terminal_summary(terminalreporter, config):
    """What pytest-benchmark's own table has no columns for: the extra_info of harness.measure."""
    session = getattr(config, "_benchmarksession", None)
    found = (
        [bench for bench in session.benchmarks if "percent_of_roofline" in bench.extra_info]
        if session
        else []
    )
    if not found:
        return
    terminalreporter.section("the operators' own steps against this machine's ceilings")
    head = ("", "us", "GFLOP/s", "of", "GB/s", "of", "set in KiB", "% of ceiling", "goal")
    terminalreporter.write_line("{:52}{:>10}{:>9}{:>7}{:>8}{:>7}{:>12}{:>14}{:>6}".format(*head))
    for bench in found:
        extra = bench.extra_info
        goal = extra["goal_percent"]
        percent = extra["percent_of_roofline"]
        mark = "" if goal is None else f"{goal}" if percent >= goal else f"<{goal}"
        terminalreporter.write_line(
            f"{bench.name:52}{extra['step_seconds'] * 1e6:10.1f}"
            f"{extra['gflops_per_second']:9.1f}{extra['ceiling_gflops_per_second']:7.0f}"
            f"{extra['gbytes_per_second']:8.1f}{extra['ceiling_gbytes_per_second']:7.1f}"
            f"{extra['working_set_bytes'] / 1024:12.0f}{percent:14.0f}{mark:>6}"
        )
