"""How the command line prints a table: what stands in it can be copied."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Characters of a line where the output is no terminal, which has no edge to fold at.
_UNLIMITED_WIDTH = 100_000


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str] | Sequence[str | Text]],
    *,
    unbroken: Sequence[str] = (),
) -> None:
    """Print a table; cells that are too wide for a terminal go on in the next line, none is cut off.

    Args:
        headings: Of the columns.
        rows: A cell for each column; text is printed as it stands.
        unbroken: Headings of columns whose words are folded only if the terminal is narrower than they are.
    """
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False)
    for place, heading in enumerate(headings):
        longest = max((len(word) for row in cells for word in row[place].plain.split()), default=0)
        table.add_column(heading, overflow="fold", min_width=longest if heading in unbroken else None)
    for row in cells:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_UNLIMITED_WIDTH)
    console.print(table)
