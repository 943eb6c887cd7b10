"""How a ledger is written: the block in the model's docs page, and the file beside the model."""

from __future__ import annotations

import json

from gankit import ledger

BEGIN, END = "<!-- ledger: written by scripts/write_ledgers.py -->", "<!-- end of the ledger -->"


def markdown(model: str, rows: list[ledger.Row]) -> str:
    """The block of the model's docs page, with its markers."""
    code = ledger.data(model)["code"]
    files = f" Files are those of [the authors' code]({code})." if code else ""
    lines = [
        BEGIN, "", "## Fidelity ledger", "",
        f"The paper's training procedure beside gankit's (`gankit show {model} --ledger`). gankit's values are read "
        f"off the built model of preset `paper`, or of the one named.{files}",
        "", f"| {' | '.join(ledger.COLUMNS)} |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        cells = (cell.replace("|", r"\|").replace("*", r"\*").replace("<", "&lt;") for cell in ledger.cells(row))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", END])


def stored(model: str, rows: list[ledger.Row]) -> str:
    """The file beside the model, one row a line, with gankit's values of `rows`."""
    data = ledger.data(model)
    lines = []
    for entry, row in zip(data["rows"], rows, strict=True):
        fields = {}
        for key, value in entry.items():
            if key != "gankit":
                fields[key] = value
            if key == "paper" and "read" in entry:
                fields["gankit"] = row.gankit
        lines.append(f"  {json.dumps(fields, ensure_ascii=False)}")
    code, small = (json.dumps(data[key], ensure_ascii=False) for key in ("code", "small"))
    head = ["{", f' "code": {code},', f' "small": {small},', ' "rows": [']
    return "\n".join([*head, ",\n".join(lines), " ]", "}"]) + "\n"
