import pytest

from keras_switch import models


@pytest.mark.parametrize(
    ("placement", "num_layers", "expected"),
    [
        (models.Odd(), 6, (1, 3, 5)),
        (models.Even(), 5, (0, 2, 4)),
        (models.Every(3), 7, (2, 5)),
        (models.Every(1), 3, (0, 1, 2)),
        (models.HuggingFace(3), 7, (1, 4)),
        (models.HuggingFace(1), 2, (0, 1)),
        (models.Mixed(2), 6, (2, 5)),
        (models.Top(2), 5, (3, 4)),
        (models.Middle(2), 6, (2, 3)),
        (models.Middle(1), 4, (2,)),
        (models.Middle(2), 5, (2, 3)),
        (models.Bottom(2), 5, (0, 1)),
        (models.AllLayers(), 2, (0, 1)),
        (models.NoLayers(), 2, ()),
    ],
)
def test_a_placement_names_its_layers(placement, num_layers, expected):
    assert placement.layers(num_layers) == expected


@pytest.mark.parametrize(
    ("placement", "num_layers", "message"),
    [
        (models.Odd(), 1, r"Odd\(\) makes none of 1 layers sparse.*NoLayers"),
        (models.Every(5), 4, r"Every\(step=5\) makes none of 4"),
        (models.Every(0), 4, r"step must be at least 1"),
        (models.HuggingFace(3), 1, r"makes none of 1 layers"),
        (models.Top(5), 4, r"Top\(count=5\) cannot be met by 4 layers.*from 1 to 4"),
        (models.Bottom(0), 4, r"Bottom\(count=0\) cannot be met"),
        (models.Mixed(4), 6, r"cannot be spread evenly over 6 layers"),
        (models.Mixed(0), 6, r"cannot be met by 6"),
    ],
)
def test_a_placement_that_cannot_be_met_is_an_error_never_none(
    placement, num_layers, message
):
    with pytest.raises(ValueError, match=message):
        placement.layers(num_layers)
