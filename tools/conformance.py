#!/usr/bin/env python3
"""Count the cases of the official ONNX conformance suite that pass, and list the others by operator.

    python tools/conformance.py                 # all kinds of cases
    python tools/conformance.py add conv_       # only cases whose name contains one of these
    python tools/conformance.py -v relu         # with the first line of every failure

Each case runs in this process; run under `-X faulthandler` to see where a crash came from.
"""

from __future__ import annotations

import argparse
import collections
import unittest

import onnx.backend.test

import pyinfer.backend


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("-v", "--verbose", action="store_true")
    args = parser.parse_args()
    suite = onnx.backend.test.BackendTest(pyinfer.backend, __name__)
    suite.exclude(r"_cuda")
    # What these expect came from an unseeded generator.
    suite.exclude(r"test_bernoulli")
    totals: collections.Counter[tuple[str, str]] = collections.Counter()
    failures = []
    for kind, cases in sorted(suite.test_cases.items()):
        for test in unittest.defaultTestLoader.loadTestsFromTestCase(cases):
            name = test.id().rpartition(".")[2]
            if args.names and not any(part in name for part in args.names):
                continue
            result = unittest.TestResult()
            test.run(result)
            if result.skipped:
                totals[kind, "excluded"] += 1
            elif result.wasSuccessful():
                totals[kind, "passed"] += 1
            else:
                totals[kind, "failed"] += 1
                reason = (result.errors or result.failures)[0][1].strip().splitlines()
                failures.append(
                    (name, next((l for l in reversed(reason) if "rror" in l or "ismatch" in l), reason[-1]))
                )
    for name, reason in failures:
        print(f"{name}: {reason[:220]}" if args.verbose else name)
    for (kind, what), count in sorted(totals.items()):
        print(f"{kind}: {count} {what}")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
