"""Parts of an HTML page: frame and style, figures, tables. A page is one file that opens offline."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

from gankit.text import escaped

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 66rem; padding: 0 1rem;
  color: #1c1c1c; background: #fff }
h1 { font-size: 1.5rem; margin-bottom: 0 } h2 { font-size: 1.1rem; margin-top: 2.2rem }
small, figcaption { color: #666 }
.row { display: flex; flex-wrap: wrap; gap: 1.2rem } .film img { max-width: 15rem }
figure { margin: 0 } figure img { max-width: 30rem; width: 100%; image-rendering: pixelated }
table { border-collapse: collapse; font-size: .9rem } td { padding: .1rem 1rem .1rem 0; vertical-align: top }
svg text { font: 11px system-ui, sans-serif; fill: #555 }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } svg text { fill: #aaa } }
"""


def page(title: str, parts: list[str]) -> str:
    """A whole page of these parts of HTML."""
    head = f"<meta charset=utf-8><title>{escaped(title)}</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang=en>{head}{''.join(parts)}</html>"


def figure(path: Path, caption: str) -> str:
    """A picture, stored inside the page, with its caption."""
    data, text = base64.b64encode(path.read_bytes()).decode(), escaped(caption)
    return f"<figure><img alt='{text}' src='data:image/png;base64,{data}'><figcaption>{text}</figcaption></figure>"


def table(title: str, rows: Mapping[str, object]) -> str:
    """A table of two columns, names and values."""
    body = "".join(
        f"<tr><td>{escaped(str(k))}<td>{escaped(', '.join(map(str, v)) if isinstance(v, list) else str(v))}"
        for k, v in rows.items()
    )
    return f"<table>{f'<caption>{escaped(title)}</caption>' if title else ''}{body}</table>"
