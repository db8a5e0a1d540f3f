import pytest

pytest.importorskip("faster_coco_eval")

from tests.detection.coco_files import coco_files  # noqa: F401
