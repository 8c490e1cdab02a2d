"""A 4×4 Sudoku in a text: the rules hold and the given digits are kept."""

from __future__ import annotations

import re

from mdmkit_tasks.judges.marks import first_turn, plain_signs, tagged

_ROW = r"[ |\[(\"']*([0-9])[ ,|&-]*([0-9])[ ,|&-]*([0-9])[ ,|&-]*([0-9])[ |\])\"',]*"
_GRID = re.compile(rf"(?<!\d){_ROW}[\s/;\\]*{_ROW}[\s/;\\]*{_ROW}[\s/;\\]*{_ROW}(?!\d)")
# The number of a row, before it: "Row 1:" or "1."
_NUMBERED = re.compile(r"^(?:row *\d+ *[:.)=|-]?|\d[.)] ) *", re.I)


def grid(answer: str) -> str | None:
    """The last 4×4 grid of an answer, as sixteen digits row by row; None if there is none."""
    text = plain_signs(first_turn(answer))
    text = re.sub(r"\\n|<br */?>", "\n", tagged(text) or text).replace("*", "").replace("`", "")
    lines = (_NUMBERED.sub("", " ".join(line.split())) for line in text.splitlines())
    # Lines of a frame, and empty ones, separate nothing.
    found = list(_GRID.finditer("\n".join(line for line in lines if line.strip(" -+|:="))))
    return "".join(found[-1].groups()) if found else None


def solves(answer: str, puzzle: str) -> bool:
    """True if an answer solves a puzzle of sixteen digits, row by row; 0, `_` and `.` are open."""
    cells, given = grid(answer), re.sub(r"[^0-9_.]", "", puzzle)
    if cells is None or any(g not in "0_." and g != c for g, c in zip(given, cells, strict=True)):
        return False
    rows = [cells[i : i + 4] for i in range(0, 16, 4)]
    columns = ["".join(column) for column in zip(*rows, strict=True)]
    boxes = [rows[r][c : c + 2] + rows[r + 1][c : c + 2] for r in (0, 2) for c in (0, 2)]
    return all(sorted(unit) == list("1234") for unit in (*rows, *columns, *boxes))
