"""What jsonargparse says of a wrong field, in one sentence."""

import pytest

from cotnet.cli.parser_errors import sentence


class Model:
    def __init__(self, name: str, base_lr: float = 0.1): ...


class Data:
    def __init__(self, batch_size: int, size: int = 8): ...


UNION = """Parser key "trainer.precision":
  Does not validate against any of the Union subtypes
  Errors:
    - Expected a <class 'int'>
    - Expected a typing.Literal['16-true', 'bf16']
    - Expected a <class 'NoneType'>
  Given value type: <class 'str'>
  Given value: foo"""
NESTED = """Parser key "data":
  Does not validate against any of the Union subtypes
  Errors:
    - Problem with given class_path 'cotnet.data.Data':
        Parser key "size":
          Expected a <class 'int'>. Got value: big
    - Expected a <class 'NoneType'>
  Given value type: <class 'NestedArg'>
  Given value: NestedArg(key='size', val='big')"""
CONSTRUCTOR = """Does not validate against any of the Union subtypes
Subtypes: [<class 'lightning.pytorch.core.datamodule.LightningDataModule'>, <class 'NoneType'>]
Errors:
  - data.size must be at least 1, got 0
  - Expected a <class 'NoneType'>
Given value type: <class 'jsonargparse._namespace.Namespace'>
Given value: Namespace(class_path='cotnet.data.Data', init_args=Namespace(size=0))"""
FOREIGN = """Parser key "data":

  - Expected a path but os.system either not accessible or invalid
  - Does not validate against any of the Union subtypes
  Subtypes: [<class 'lightning.pytorch.core.datamodule.LightningDataModule'>, <class 'NoneType'>]
  Errors:
    - %s
    - Expected a <class 'NoneType'>
  Given value type: <class 'str'>
  Given value: os.system"""
NOT_EXPECTED = """Parser key "data":
  Does not validate against any of the Union subtypes
  Errors:
    - Problem with given class_path 'cotnet.data.Data':
        Option '%s' is not accepted
    - Expected a <class 'NoneType'>"""
REQUIRED = """Parser key "data":
  Errors:
    - Problem with given class_path 'cotnet.data.Data':
        the following arguments are required: batch_size"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (UNION, "trainer.precision must be int or one of 16-true, bf16, got 'foo'"),
        (NESTED, "data.size must be int, got 'big'"),
        (REQUIRED, "data.batch_size is missing; pass --data.batch_size"),
        ("Unrecognized arguments: --model.nam=x", "unknown field model.nam; did you mean --model.name?"),
        ("Key 'batchsize' is not expected", "unknown field batchsize; did you mean --data.batch_size?"),
        ("Group 'model' does not accept option 'nam'", "unknown field model.nam; did you mean --model.name?"),
        (NOT_EXPECTED % "batchsize", "unknown field data.batchsize; did you mean --data.batch_size?"),
        (
            NOT_EXPECTED % "class_path",
            "data holds fields beside class_path; a class's own fields stand under init_args",
        ),
        (CONSTRUCTOR, "data.size must be at least 1, got 0"),
        (FOREIGN % "It is no data module", "data cannot be 'os.system': It is no data module"),
        (
            FOREIGN % "Problem with given class_path 'no.such':\n        No module named 'no'",
            "data cannot be 'os.system': No module named 'no'",
        ),
        ("Key 'modl.name' is not expected", "unknown field modl.name; did you mean model.name?"),
        ("Key 'zebra.name' is not expected", "unknown field zebra.name; fields begin with model, data"),
        ("Key 'model.zebra' is not expected", "unknown field model.zebra; cotnet train --help model lists the fields"),
        ("unrecognized arguments: -x", "unexpected '-x'; a field is --GROUP.FIELD VALUE, see cotnet train --help"),
        ("unrecognized arguments: a b", "unexpected 'a b'; a field is --GROUP.FIELD VALUE, see cotnet train --help"),
        ("Call of f (--> g) failed: the\n folder is\n empty", "Call of f (--> g) failed: the folder is empty"),
        ("Link 'data --> model.n' (f) failed: it is empty", "it is empty"),
    ],
)
def test_one_sentence(text, expected):
    assert sentence(text, {"model": [Model], "data": [Data]}) == expected
