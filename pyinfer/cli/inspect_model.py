"""Show a model's inputs, outputs, operators, parameters, cost and memory."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pyinfer
from pyinfer.cli import _inputs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("model", help="path of an ONNX file")
    _inputs.add_shape_arguments(parser)
    parser.add_argument("--dump", action="store_true", help="print the optimised graph too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def execute(args: argparse.Namespace) -> int:
    """Run the command."""
    model = pyinfer.load(args.model)
    summary = model.summary(_inputs.input_shapes(model, args, default=None))
    print(_as_json(model, summary, args.dump) if args.json else _as_text(model, summary, args.dump))
    return 0


def _as_json(model: pyinfer.Model, summary: dict[str, Any], dump: bool) -> str:
    def described(specs: tuple[pyinfer.TensorSpec, ...]) -> list[dict[str, object]]:
        return [{"name": spec.name, "dtype": spec.dtype, "shape": spec.shape} for spec in specs]

    whole = {
        "inputs": described(model.inputs),
        "outputs": described(model.outputs),
        "info": model.info,
        "metadata": model.metadata,
        **summary,
    }
    if dump:
        whole["graph"] = model.dump()
    return json.dumps(whole, indent=2)


def _as_text(model: pyinfer.Model, summary: dict[str, Any], dump: bool) -> str:
    info, parameters, plan = model.info, summary["parameters"], summary["plan"]
    opsets = info["opset_imports"]
    assert isinstance(opsets, dict)
    lines = [f"graph       {info['graph_name'] or '(no name)'}"]
    if info["producer_name"]:
        lines.append(f"producer    {info['producer_name']} {info['producer_version']}".rstrip())
    versions = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in opsets.items())
    lines.append(f"format      IR {info['ir_version']}, opset {versions}")
    lines += [f"input       {spec}" for spec in model.inputs]
    lines += [f"output      {spec}" for spec in model.outputs]
    lines += [f"metadata    {key} = {value!r:.120}" for key, value in model.metadata.items()]
    lines.append(f"parameters  {parameters['count']:,} ({_bytes(parameters['bytes'])})")
    operators = sorted(summary["operators"].items(), key=lambda item: (-item[1], item[0]))
    lines.append(f"operators   {sum(summary['operators'].values())} after optimisation")
    lines += [f"            {count:6} {name}" for name, count in operators]
    if plan is None:
        lines.append("plan        depends on dynamic lengths: give them with --dim or --shape")
    else:
        lines.append(f"plan        {plan['steps']} steps, {_bytes(plan['arena_bytes'])} of memory for values")
        lines.append(f"cost        {plan['flops'] / 1e6:,.3f} MFLOP per run")
    if dump:
        lines += ["", model.dump().rstrip()]
    return "\n".join(lines)


def _bytes(count: int) -> str:
    """`count` bytes in the unit that fits."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"
