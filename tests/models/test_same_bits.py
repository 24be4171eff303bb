"""A row of a model's output has the same bits in every batch, on every number of threads, in every run and with
every instruction set of this machine. For NEON under emulation, tools/compare_bits.py does the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import pyinfer
from bits import BATCHES, CASES, THREADS, case_model, make_feeds, row_hashes
from zoo import distance


def hashes(name: str) -> dict[str, str]:
    """The hash of each row; of several that rows have here, all."""
    case, model = CASES[name], case_model(name)
    assert model is not None
    found: dict[str, set[str]] = {}
    for threads in THREADS:
        loaded = pyinfer.load(model, threads=threads)
        for batch in (*BATCHES, BATCHES[0]):
            # On one thread each row in each batch, alone too; then what other threads may change.
            last = max(BATCHES) - batch if threads == 1 and not case.rows_depend else 0
            for first in range(0, last + 1, batch):
                outputs = loaded.run(make_feeds(loaded.inputs, case.shapes, batch, first))
                for row, digest in row_hashes(outputs, batch, not case.rows_depend, first).items():
                    found.setdefault(row, set()).add(digest)
    return {row: " or ".join(sorted(digests)) for row, digests in found.items()}


def instruction_sets() -> list[str | None]:
    """Those with fused multiply-add that this CPU has; None is what it takes by itself, which may mix two."""
    sets = {"avx2": ["avx2"], "avx512": ["avx2", "avx512", None], "neon": ["neon"]}
    return sets.get(pyinfer.cpu_isa()) or pytest.skip("the baseline rounds differently")


@pytest.mark.parametrize("name", CASES)
def test_rows_have_the_same_bits(name):
    case = CASES[name]
    if case_model(name) is None:
        pytest.skip(f"the package {case.package[0]} is not installed (see PYINFER_MODEL_PACKAGES)")
    found = {}
    for isa in instruction_sets():
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        environment.pop("PYINFER_CPU_ISA", None)
        if isa:
            environment["PYINFER_CPU_ISA"] = isa
        command = [sys.executable, "-W", "ignore", __file__, name]
        printed = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
        found[isa] = json.loads(printed)
    for isa, rows in found.items():
        assert {row: digest for row, digest in rows.items() if " or " in digest} == {}, isa
        assert rows == next(iter(found.values())), isa
    if not case.rows_depend:
        # Rows have inputs of their own: with equal outputs they would say nothing.
        assert len(rows) % max(BATCHES) == 0
        assert len(set(rows.values())) == len(rows)


@pytest.mark.parametrize("name", ["deit_tiny", "minilm_l6", "gpt2_decode"])
def test_rewritten_for_any_batch_agrees_with_onnxruntime(name):
    model, case = case_model(name), CASES[name]
    assert isinstance(model, onnx.ModelProto)
    loaded = pyinfer.load(model)
    feeds = make_feeds(loaded.inputs, case.shapes, 3)
    expected = ort.InferenceSession(model.SerializeToString()).run(None, feeds)
    for got, want in zip(loaded.run(feeds).values(), expected, strict=True):
        assert got.shape == want.shape
        assert np.ptp(want) > 0
        assert distance(got, want) < 2e-5


if __name__ == "__main__":
    json.dump(hashes(sys.argv[1]), sys.stdout)
