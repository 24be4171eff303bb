"""Measuring pyinfer and other engines side by side.

`pyinfer bench` and `benchmarks/compare.py` are built on this package; docs/benchmarking.md says how the
figures come about. Other engines are imported only when they are named.
"""

from pyinfer.bench.cold import Cold, measure_cold
from pyinfer.bench.engines import ENGINES, Feeds, check_installed
from pyinfer.bench.environment import stamp
from pyinfer.bench.race import Settings, geometric_mean, interval, measure, race
from pyinfer.bench.report import as_html, as_text, report

__all__ = [
    "ENGINES",
    "Cold",
    "Feeds",
    "Settings",
    "as_html",
    "as_text",
    "check_installed",
    "geometric_mean",
    "interval",
    "measure",
    "measure_cold",
    "race",
    "report",
    "stamp",
]
