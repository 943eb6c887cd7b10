"""Parts of HTML: pages, each one file that opens offline, figures, tables; notebooks show parts alone."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gankit.text import escaped

STYLE = """
:root { color-scheme: light dark; --ink: #1d2127; --soft: #5c636d; --line: #d8dce2; --paper: #fff; --card: #f5f6f8;
  --good: #1b7f46; --bad: #b3361f; --accent: #2f6fb3 }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e5e8; --soft: #a0a7b1; --line: #3a3f47; --paper: #16181c;
  --card: #1f2228; --good: #5cc28a; --bad: #ef8a70; --accent: #6aa9e9 } }
* { box-sizing: border-box }
body { font: 15px/1.55 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 4rem;
  color: var(--ink); background: var(--paper); overflow-wrap: break-word }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 } h2 { font-size: 1.15rem; margin: 2.4rem 0 .8rem }
small, figcaption, .soft { color: var(--soft); font-size: .87rem } .lead { margin: .4rem 0 0 }
code { font: .9em/1.4 ui-monospace, monospace; background: var(--card); padding: .1em .3em; border-radius: .2em }
.row { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr)); gap: 1.4rem 1.8rem }
.pictures { align-items: end } code { overflow-wrap: anywhere }
figure { margin: 0; min-width: 0 } figure img { max-width: 100%; height: auto; image-rendering: pixelated }
.plots img { image-rendering: auto } figure b { color: var(--ink) }
svg { display: block; width: 100%; max-width: 34rem; height: auto }
table { border-collapse: collapse; font-size: .9rem } .wide { overflow-x: auto }
td, th { padding: .25rem 1.2rem .25rem 0; vertical-align: top; text-align: left; border-bottom: 1px solid var(--line) }
.number { text-align: right; white-space: nowrap } caption { text-align: left; font-weight: 600; padding-bottom: .2rem }
.frames form { display: flex; gap: .8rem; align-items: center; margin: .3rem 0 .5rem }
.frames input { flex: 1; min-width: 0 }
.frames button { font: inherit; min-width: 4.5rem; color: inherit; background: var(--card); padding: .1rem .6rem;
  border: 1px solid var(--line); border-radius: .3rem } [hidden] { display: none !important }
.verdict { list-style: none; margin: 0; padding: 0 } .verdict li { padding: .5rem 0 .5rem .9rem; margin-bottom: .5rem;
  border-left: .25rem solid var(--line) }
.verdict .good { border-color: var(--good) } .verdict .bad { border-color: var(--bad) }
details { margin-top: 2.4rem } summary { cursor: pointer; font-size: 1.15rem; font-weight: 600 }
"""

# A slider over pictures. Without JavaScript the last picture stays, and the slider is hidden. It is the only script of
# a page; nothing that comes from a file is in it.
SCRIPT = """
for (const box of document.querySelectorAll(".frames")) {
  const frames = [...box.querySelectorAll("img")], form = box.querySelector("form");
  const slider = form.querySelector("input"), button = form.querySelector("button"), text = box.querySelector("output");
  const show = () => {
    frames.forEach((frame, i) => { frame.hidden = i != slider.value });
    text.value = frames[slider.value].alt;
    slider.setAttribute("aria-valuetext", text.value);
  };
  let timer = 0;
  const stop = () => { clearInterval(timer); timer = 0; button.textContent = "Play" };
  const step = () => {
    if (+slider.value + 1 >= frames.length) return stop();
    slider.value = +slider.value + 1;
    show();
  };
  button.onclick = () => {
    if (timer) return stop();
    if (+slider.value + 1 >= frames.length) { slider.value = 0; show() }
    button.textContent = "Stop";
    timer = setInterval(step, Math.max(80, Math.min(500, 6000 / frames.length)));
  };
  form.onsubmit = event => event.preventDefault();
  slider.max = frames.length - 1;
  slider.value = frames.length - 1;
  slider.oninput = () => { stop(); show() };
  form.hidden = false;
  show();
}
"""


def page(title: str, parts: list[str]) -> str:
    """A whole page of these parts of HTML."""
    script = f"<script>{SCRIPT}</script>" if any("class=frames" in part for part in parts) else ""
    head = "<meta charset=utf-8><meta name=viewport content='width=device-width, initial-scale=1'>"
    head += f"<title>{escaped(title)}</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}{script}</body></html>"


def image(content: bytes, text: str, kind: str = "png", is_hidden: bool = False) -> str:
    """A picture, stored inside the page; `text` stands for it where it cannot be seen."""
    data = base64.b64encode(content).decode()
    return f"<img alt='{escaped(text)}' src='data:image/{kind};base64,{data}'{' hidden' * is_hidden}>"


def figure(picture: Path | bytes, caption: str, kind: str = "png") -> str:
    """A picture, a file or its content, stored inside the page, with its caption."""
    content = picture.read_bytes() if isinstance(picture, Path) else picture
    return captioned(image(content, caption, kind), caption)


def captioned(content: str, caption: str, title: str = "") -> str:
    """A picture or chart, as HTML, above its caption and below its title, if it has one."""
    head = f"<b>{escaped(title)}</b>" if title else ""
    return f"<figure>{head}{content}<figcaption>{escaped(caption)}</figcaption></figure>"


def frames(pictures: Sequence[tuple[bytes, str, str]], label: str) -> str:
    """Pictures (content, caption, kind) with a slider; the page's script makes it work, and shows the last without it.

    Args:
        pictures: at least one, in order.
        label: what the slider moves over.
    """
    shown = [image(data, text, kind, i + 1 < len(pictures)) for i, (data, text, kind) in enumerate(pictures)]
    slider = f"<input type=range min=0 value=0 aria-label='{escaped(label)}'>"
    form = f"<form hidden><button type=button>Play</button>{slider}</form>" if len(pictures) > 1 else ""
    caption = f"<figcaption><output>{escaped(pictures[-1][1])}</output></figcaption>"
    return f"<figure{' class=frames' if form else ''}>{form}{''.join(shown)}{caption}</figure>"


def table(title: str, rows: Mapping[str, object]) -> str:
    """A table of two columns, names and values."""
    texts = {k: ", ".join(map(str, v)) if isinstance(v, list) else str(v) for k, v in rows.items()}
    body = "".join(f"<tr><td>{escaped(name)}<td>{escaped(text)}" for name, text in texts.items())
    return f"<table>{f'<caption>{escaped(title)}</caption>' if title else ''}{body}</table>"


def grid(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table with a heading for each column.

    Args:
        heads: the headings.
        rows: cells, as plain text.
        numbers: the columns of numbers, which are aligned on the right.
    """
    classes = [" class=number" if i in numbers else "" for i in range(len(heads))]
    head = "".join(f"<th{kind}>{escaped(text)}" for text, kind in zip(heads, classes))
    body = "".join("<tr>" + "".join(f"<td{kind}>{escaped(cell)}" for cell, kind in zip(row, classes)) for row in rows)
    return f"<div class=wide><table><tr>{head}{body}</table></div>"
