"""Fixtures of the operators' tests."""

import pytest

from cotnet.ops import native_library


@pytest.fixture(params=native_library.ISAS)
def isa(request):
    """Each instruction set in turn, of those that this processor has."""
    library = native_library.load()
    if isinstance(library, str):
        pytest.skip(library)
    before = library.isa
    try:
        library.choose(request.param)
    except RuntimeError as reason:
        pytest.skip(str(reason))
    yield request.param
    library.choose(before)
