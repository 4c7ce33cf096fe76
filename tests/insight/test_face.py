"""The public names of plait.insight."""

import pytest

import plait.insight


@pytest.mark.parametrize("name", plait.insight.__all__)
def test_every_public_name_leads_to_something_of_that_name(name):
    assert getattr(plait.insight, name).__name__ == name
    assert name in dir(plait.insight)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="module 'plait.insight' has no attribute 'slises'"):
        plait.insight.slises  # noqa: B018
