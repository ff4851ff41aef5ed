"""Dropout by a hash: a unit's fate hangs on key, image, layer and unit, and on nothing else."""

import pytest
import torch

from detector.dropout import Dropout, drawing
from detector.randomness import derive, numbers

ROWS = torch.arange(400)
KEYS = numbers(derive(0, "dropout", 1), ROWS)


def mask(keys, units=300, p=0.4, place=0):
    with drawing(keys):
        return Dropout(p, place)(torch.ones(len(keys), units))


def test_a_share_of_p_is_dropped_and_the_rest_made_up_for_it():
    for p in (0.1, 0.4, 0.5):
        kept = mask(KEYS, p=p)
        assert set(kept.unique().tolist()) == {0, torch.tensor(1 / (1 - p)).item()}
        dropped = (kept == 0).double()
        error = (p * (1 - p)) ** 0.5  # of one unit
        assert abs(dropped.mean() - p) < 5 * error / dropped.numel() ** 0.5
        assert (dropped.mean(0) - p).abs().max() < 5 * error / 400**0.5
        assert (dropped.mean(1) - p).abs().max() < 5 * error / 300**0.5


def test_neighbours_in_image_unit_place_epoch_and_seed_are_independent():
    other = [numbers(derive(*key), ROWS) for key in ((0, "dropout", 2), (1, "dropout", 1))]
    first = mask(KEYS)
    for second in (mask(KEYS, place=1), *map(mask, other), first.roll(1, 0), first.roll(1, 1)):
        # five standard errors of 120,000 pairs
        assert abs(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]) < 5 / 120_000**0.5


def test_company_order_and_stacking_change_nothing():
    some = torch.tensor([399, 3, 77, 3])
    expected = mask(KEYS)
    assert torch.equal(mask(KEYS[some]), expected[some])
    assert torch.equal(mask(KEYS[some[:1]]), expected[some[:1]])
    layer = Dropout(0.4, 0)

    def alone(keys):
        with drawing(keys):
            return layer(torch.ones(len(keys), 300))

    stacked = torch.vmap(alone)(KEYS.unflatten(0, (4, 100)))
    assert torch.equal(stacked.flatten(0, 1), expected)


def test_feature_maps_are_dropped_unit_by_unit_too():
    with drawing(KEYS):
        maps = Dropout(0.4, 0)(torch.ones(400, 3, 10, 10))
    assert torch.equal(maps.flatten(1), mask(KEYS))


def test_in_evaluation_it_is_the_identity_and_in_training_it_wants_keys():
    x = torch.rand(4, 10)
    assert torch.equal(Dropout(0.5, 0).eval()(x), x)
    assert torch.equal(Dropout(0.0, 0)(x), x)
    with pytest.raises(RuntimeError, match="no keys to draw by"):
        Dropout(0.5, 0)(x)
    with pytest.raises(ZeroDivisionError), drawing(KEYS):
        raise ZeroDivisionError  # leaves the context as any other way out does
    with pytest.raises(RuntimeError, match="no keys to draw by"):
        Dropout(0.5, 0)(x)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_units_are_dropped_on_the_gpu():
    with drawing(KEYS.cuda()):
        assert torch.equal(Dropout(0.4, 0)(torch.ones(400, 300, device="cuda")).cpu(), mask(KEYS))
