"""What is found in images as a table, CSV, or one COCO file, and which images could not be read."""

import csv
import json
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from cotnet.cli.main import UnfinishedError

if TYPE_CHECKING:
    from cotnet.detection.predict import Found
    from cotnet.files.weights import WeightsCard


class FoundReport:
    """A context that receives images one by one.

    Args:
        form: `"table"`, `"csv"`, or `"json"` for a COCO file.
        file: open for writing.
        card: of the network.
        columns: of CSV, after path and class.
        head: what the table says of an image.
        cells: their values for an entry of an image.
        line: an entry of an image as a line of the table, given the class's name, padded.
    """

    def __init__(
        self,
        form: str,
        file: TextIO,
        card: "WeightsCard",
        *,
        columns: Sequence[str],
        head: Callable[["Found"], str],
        cells: Callable[["Found", dict[str, Any]], Sequence[object]],
        line: Callable[["Found", dict[str, Any], str], str],
    ) -> None:
        self.form, self.file, self.card = form, file, card
        self.columns, self.head, self.cells, self.line = columns, head, cells, line
        self.names = dict(zip(card.data["category_ids"], card.class_names, strict=True))
        self.rows = csv.writer(file, lineterminator="\n")
        self.everything: list[Found] = []
        self.count = self.unreadable = 0

    def __enter__(self) -> "FoundReport":
        if self.form == "csv":
            self.rows.writerow(["path", "class", *self.columns])
        return self

    def write(self, found: "Found") -> None:
        """Add an image, or name it on standard error where it could not be read."""
        self.count += 1
        if self.form == "json":
            self.everything.append(found)
        if found.error is not None:
            self.unreadable += 1
            reason = f"cannot read the image {found.path}: {found.error}; repair or remove it"
            print(f"cotnet: error: {reason}", file=sys.stderr)
        elif self.form == "csv":
            for one in found.results:
                self.rows.writerow([found.path, self.names[one["category_id"]], *self.cells(found, one)])
        elif self.form == "table":
            width = max(map(len, self.names.values()))
            self.file.write(f"{found.path}  {self.head(found)}\n")
            for one in found.results:
                name = self.names[one["category_id"]]
                self.file.write(f"  {self.line(found, one, f'{name:{width}}')}\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from cotnet.detection.predict import to_coco

        if kind is None and self.form == "json":
            json.dump(to_coco(self.everything, self.card), self.file)
            self.file.write("\n")

    def check(self) -> None:
        """Raise `UnfinishedError` where images could not be read; call it when the output is complete."""
        if self.unreadable > 1:
            print(f"cotnet: {self.unreadable} of {self.count} images could not be read", file=sys.stderr)
        if self.unreadable:
            raise UnfinishedError
