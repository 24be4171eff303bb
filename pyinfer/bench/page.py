"""HTML pages that need nothing from outside: no scripts, fonts or images."""

from __future__ import annotations

import html
from collections.abc import Sequence

_STYLE = """
:root { color-scheme: light dark; --bar: #4a7fb5; --line: #8884; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
h3 { font-size: 1rem; margin: 1rem 0 .2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th.l, td.l { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
.bar { display: grid; grid-template-columns: 14rem 1fr; gap: .6rem; align-items: center; }
.bar i { display: inline-block; height: .8rem; min-width: 2px; background: var(--bar); border-radius: 2px; }
footer { margin-top: 2.5rem; font-size: .85rem; opacity: .75; }
"""

escape = html.escape


def table(head: Sequence[str], body: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table; the first `left` columns are aligned to the left."""

    def line(cells: Sequence[str], tag: str) -> str:
        marked = (f"<{tag}{' class=l' if i < left else ''}>{escape(c)}</{tag}>" for i, c in enumerate(cells))
        return f"<tr>{''.join(marked)}</tr>"

    rows = "\n".join(line(cells, "td") for cells in body)
    return (
        f'<div class="scroll"><table><thead>{line(head, "th")}</thead>\n<tbody>{rows}</tbody></table></div>'
    )


def bar(label: str, value: str, share: float) -> str:
    """A labelled bar, `share` of the full width long."""
    width = f"{min(max(share, 0.0), 1.0) * 75:.2f}%"
    return (
        f'<div class="bar"><span>{escape(label)}</span>'
        f'<span><i style="width:{width}"></i> {escape(value)}</span></div>'
    )


def document(title: str, body: str) -> str:
    """The whole page."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )
