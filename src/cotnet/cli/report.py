"""Results for images as a table, CSV or JSON, written as they come."""

import csv
import json
import tempfile
from types import TracebackType
from typing import Any, TextIO

from cotnet.cli.errors import UnfinishedError, print_error, print_note
from cotnet.files.weights import WeightsCard


class Report:
    """A context that writes results one by one; `check` tells at the end whether all images could be read.

    Args:
        form: ``"table"``, ``"csv"``, or ``"json"``: a list for a classifier, else one COCO file.
        file: Open for writing.
        card: Of the network.
        columns: Of the results, for CSV.
        width: Of the paths in the table.
    """

    def __init__(self, form: str, file: TextIO, card: WeightsCard, columns: tuple[str, ...], *, width: int = 0):
        self.form, self.file, self.columns, self.width = form, file, columns, width
        self.rows = csv.writer(file, lineterminator="\n")
        self.json: _JsonList | _CocoFile = _JsonList(file) if card.task == "classification" else _CocoFile(file, card)
        self.count = self.unreadable = 0

    def __enter__(self) -> "Report":
        if self.form == "csv":
            self.rows.writerow(["path", *self.columns, "error"])
        elif self.form == "json":
            self.json.begin()
        return self

    def write(self, result: Any) -> None:
        """Add an image; one that could not be read is named on standard error, too."""
        self.count += 1
        if result.error is not None:
            self.unreadable += 1
            print_error(result.error)
        if self.form == "csv":
            nothing = [[""] * len(self.columns)]
            self.rows.writerows([result.image, *row, result.error or ""] for row in list(result.rows()) or nothing)
        elif self.form == "json":
            self.json.write(self.count, result)
        elif result.error is None:
            self.file.write(f"{result.image:{self.width}}  {result}\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.form == "json" and kind is None:
            self.json.end()

    def check(self) -> None:
        """Raise `UnfinishedError` where images could not be read; call it when the output is complete."""
        if self.unreadable > 1:
            print_note(f"{self.unreadable} of {self.count} images could not be read")
        if self.unreadable:
            raise UnfinishedError


class _JsonList:
    """An entry for each image."""

    def __init__(self, file: TextIO):
        self.file, self.separator = file, "\n"

    def begin(self) -> None:
        self.file.write("[")

    def write(self, number: int, result: Any) -> None:
        self.file.write(self.separator + json.dumps(result.to_plain()))
        self.separator = ",\n"

    def end(self) -> None:
        self.file.write("\n]\n")


class _CocoFile:
    """Categories, annotations as they come, then images, which wait in a file, and those that could not be read."""

    def __init__(self, file: TextIO, card: WeightsCard):
        self.file, self.card, self.count = file, card, 0
        self.images: Any = None
        self.unreadable: list[dict[str, Any]] = []

    def begin(self) -> None:
        ids = zip(self.card.data["category_ids"], self.card.class_names, strict=True)
        categories = [{"id": category, "name": name} for category, name in ids]
        # As training takes it: boxes and masks are those of the upright image.
        self.file.write(f'{{"info": {json.dumps({"image_orientation": "upright"})},\n')
        self.file.write(f'"categories": {json.dumps(categories)},\n"annotations": [')
        self.images = tempfile.TemporaryFile("w+", encoding="ascii")  # noqa: SIM115 (closed by `end`)

    def write(self, number: int, result: Any) -> None:
        if result.error is not None:
            self.unreadable.append({"file_name": result.image, "error": result.error})
            return
        for one in result.objects:
            self.file.write(",\n" if self.count else "\n")
            self.count += 1
            self.file.write(json.dumps({"id": self.count, "image_id": number, **one.to_coco()}))
        self.images.write(",\n" if self.images.tell() else "\n")
        size = {"width": result.width, "height": result.height}
        self.images.write(json.dumps({"id": number, "file_name": result.image, **size}))

    def end(self) -> None:
        self.images.seek(0)
        self.file.write('\n],\n"images": [')
        for line in self.images:
            self.file.write(line)
        self.images.close()
        self.file.write(f'\n],\n"unreadable": {json.dumps(self.unreadable)}}}\n')
