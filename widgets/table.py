"""Small tables and rows of numbers, as HTML that follows the theme and as text."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

_CELL = (
    "padding:2px 12px 2px 0; text-align:left; border-bottom:1px solid rgba(128,128,128,.25); font-weight:normal"
)
_TABLE = "border-collapse:collapse; font-size:13px; line-height:1.4; color:var(--jp-ui-font-color1, inherit)"
_TILE = "min-width:92px; padding:4px 10px; border-left:2px solid rgba(128,128,128,.35); line-height:1.3"


def as_html(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """A table whose first column names its rows."""

    def line(cells: Sequence[str], tag: str, scope: str) -> str:
        first = f'<th scope="{scope}" style="{_CELL}">{html.escape(cells[0])}</th>'
        rest = "".join(
            f'<{tag} style="{_CELL}{"; opacity:.7" if tag == "th" else ""}">{html.escape(cell)}</{tag}>'
            for cell in cells[1:]
        )
        return f"<tr>{first}{rest}</tr>"

    title = f'<caption style="text-align:left; opacity:.7">{html.escape(caption)}</caption>' if caption else ""
    body = "".join(line(row, "td", "row") for row in rows)
    head = line(header, "th", "col")
    return f'<div style="overflow-x:auto"><table style="{_TABLE}">{title}{head}{body}</table></div>'


def as_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same in columns of spaces."""
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def tiles(numbers: Mapping[str, str]) -> str:
    """Named numbers in a row."""
    cells = "".join(
        f'<div style="{_TILE}"><div style="font-size:11px; opacity:.75">{html.escape(name)}</div>'
        f'<div style="font-size:14px">{html.escape(value)}</div></div>'
        for name, value in numbers.items()
    )
    style = "display:flex; flex-wrap:wrap; gap:6px 4px; margin:4px 0; color:var(--jp-ui-font-color1, inherit)"
    return f'<div role="group" aria-label="numbers" style="{style}">{cells}</div>' if cells else ""
