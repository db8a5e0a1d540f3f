"""Predictions as a table, CSV or JSON, written as they come."""

import contextlib
import csv
import json
import os
import sys
from types import TracebackType
from typing import TextIO

from cotnet.inference.predict import Prediction


class PredictionReport:
    """A context that writes predictions; a file gets its name only when it is complete.

    Args:
        form: `"table"` (a line a picture), `"csv"` (path, rank, class, probability), or `"json"` (a list).
        output: file to write, standard output where `None`.
        width: of the longest path, for the table.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, form: str, output: str | None, *, width: int):
        self.form, self.output, self.width = form, output, width
        self.partial = f"{output}.partial" if output else None

    def __enter__(self) -> "PredictionReport":
        if self.output and os.path.isdir(self.output):
            raise IsADirectoryError(f"--output {self.output} is a folder; name a file")
        self.file: TextIO = open(self.partial, "w", newline="") if self.partial else sys.stdout
        self.rows = csv.writer(self.file)
        self.first = True
        if self.form == "csv":
            self.rows.writerow(["path", "rank", "class", "probability"])
        elif self.form == "json":
            self.file.write("[")
        return self

    def write(self, prediction: Prediction) -> None:
        """Add a picture's classes."""
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
        if self.partial is None or self.output is None:
            self.file.flush()
            return
        self.file.close()
        if kind is None:
            os.replace(self.partial, self.output)
        else:
            with contextlib.suppress(OSError):
                os.remove(self.partial)
