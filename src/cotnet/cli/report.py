"""Predictions as a table, CSV or JSON, written as they come."""

import csv
import json
from types import TracebackType
from typing import TextIO

from cotnet.prediction.stream import Prediction


class PredictionReport:
    """A context that writes predictions one by one.

    Args:
        form: `"table"` (a line an image), `"csv"` (path, rank, class, probability), or `"json"` (a list).
        file: open for writing.
        width: of the longest path, for the table.
    """

    def __init__(self, form: str, file: TextIO, *, width: int):
        self.form, self.file, self.width = form, file, width
        self.rows = csv.writer(file, lineterminator="\n")
        self.first = True

    def __enter__(self) -> "PredictionReport":
        if self.form == "csv":
            self.rows.writerow(["path", "rank", "class", "probability"])
        elif self.form == "json":
            self.file.write("[")
        return self

    def write(self, prediction: Prediction) -> None:
        """Add an image's classes."""
        ranked = list(zip(prediction.classes, prediction.probabilities, strict=True))
        if self.form == "csv":
            for rank, (name, probability) in enumerate(ranked, 1):
                self.rows.writerow([prediction.path, rank, name, f"{probability:.6f}"])
        elif self.form == "json":
            entry = {
                "path": prediction.path,
                "predictions": [{"class": name, "probability": round(p, 6)} for name, p in ranked],
            }
            self.file.write(("\n" if self.first else ",\n") + json.dumps(entry))
        else:
            cells = "  ".join(f"{p:6.1%} {name}" for name, p in ranked)
            self.file.write(f"{prediction.path:{self.width}}  {cells}\n")
        self.first = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.form == "json" and kind is None:
            self.file.write("\n]\n")
