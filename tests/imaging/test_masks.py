"""Masks are drawn by hand: '#' is inside, one string a row, one drawing a slab along k."""

import itertools
import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from spleen_tf.imaging import components, masks


def mask(*slabs):
    """(I, J, K) bool from K drawings of I rows and J columns each."""
    return np.stack([[[c == "#" for c in row] for row in slab] for slab in slabs], axis=-1)


SQUARE = ["....", ".##.", ".##.", "...."]
EMPTY = ["....", "....", "....", "...."]


@pytest.mark.parametrize(
    ("second_ijk", "count"),
    [
        ((2, 1, 1), 1),  # Shares a face with (1, 1, 1).
        ((2, 2, 1), 1),  # Shares an edge.
        ((2, 2, 2), 1),  # Shares nothing but a corner: 26-connectivity, neither 6 nor 18.
        ((0, 0, 0), 1),
        ((3, 1, 1), 2),
        ((3, 3, 3), 2),
    ],
)
def test_voxels_that_share_a_corner_are_one_component(second_ijk, count):
    drawn = np.zeros((4, 4, 4), bool)
    drawn[1, 1, 1] = drawn[second_ijk] = True
    assert masks.count_components(drawn) == count
    assert masks.largest_component(drawn).sum() == (2 if count == 1 else 1)


def test_slabs_are_not_components_of_their_own():
    """Two pieces in either slab, all joined through the middle one: 3D, not slice by slice."""
    apart = ["##..", "....", "....", "..##"]
    joined = ["##..", ".#..", "..#.", "..##"]
    assert masks.count_components(mask(apart, EMPTY, apart)) == 4
    assert masks.count_components(mask(apart, joined, apart)) == 1


def test_the_largest_component_is_that_of_most_voxels_wherever_it_lies():
    """A long thin one of 5 voxels spreads further than the block of 6 and is dropped."""
    drawn = np.zeros((9, 9, 9), bool)
    drawn[0:5, 0, 0] = True
    drawn[6:8, 6:9, 8] = True
    expected = np.zeros_like(drawn)
    expected[6:8, 6:9, 8] = True
    assert masks.count_components(drawn) == 2
    assert np.array_equal(masks.largest_component(drawn), expected)


def test_a_cavity_is_filled():
    ring = ["####", "#..#", "#..#", "####"]
    full = ["####", "####", "####", "####"]
    assert np.array_equal(masks.fill_holes(mask(full, ring, full)), mask(full, full, full))


def test_a_ring_of_one_slab_is_no_cavity():
    """Closed in its slice but open above: the hilum of a spleen looks like that."""
    ring = ["....", ".##.", "....", "...."]
    tube = ["####", "#..#", "#..#", "####"]
    full = ["####", "####", "####", "####"]
    for drawn in (mask(tube, tube, tube), mask(full, tube, ring), mask(tube)):
        assert np.array_equal(masks.fill_holes(drawn), drawn)


def test_a_cavity_that_leaks_over_an_edge_only_is_filled():
    """Background is joined by faces alone, as the complement of 26-connected foreground is."""
    full = ["####", "####", "####", "####"]
    hollow = ["####", "#.##", "###.", "####"]
    filled = ["####", "####", "###.", "####"]
    # (1, 1) touches (2, 2) by an edge; (2, 3) is at the array's side, thus outside.
    drawn = mask(full, ["####", "#.##", "##..", "####"], full)
    assert np.array_equal(
        masks.fill_holes(drawn), mask(full, ["####", "####", "##..", "####"], full)
    )
    assert np.array_equal(masks.fill_holes(mask(full, hollow, full)), mask(full, filled, full))


@pytest.mark.parametrize("change", [masks.largest_component, masks.fill_holes])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_change_returns_bool_of_the_same_shape_and_leaves_its_argument_alone(change, order):
    drawn = np.asarray(mask(SQUARE, SQUARE, EMPTY), order=order)
    drawn[0, 0, 2] = True
    before = drawn.copy()
    changed = change(drawn)
    assert changed.dtype == bool
    assert changed.shape == drawn.shape
    assert np.array_equal(drawn, before)


@pytest.mark.parametrize("change", [masks.largest_component, masks.fill_holes])
def test_an_empty_mask_stays_empty(change):
    changed = change(mask(EMPTY, EMPTY))
    assert changed.shape == (4, 4, 2)
    assert not changed.any()


def test_an_empty_mask_has_no_component_and_no_box():
    assert masks.count_components(mask(EMPTY, EMPTY)) == 0
    assert masks.bounding_box(mask(EMPTY, EMPTY)) is None


def test_the_bounding_box_is_tight_on_every_axis():
    drawn = mask(EMPTY, ["....", "..#.", "....", "...."], ["....", "....", "...#", "...."], EMPTY)
    assert masks.bounding_box(drawn) == (slice(1, 3), slice(2, 4), slice(1, 3))


def test_a_full_mask_is_its_own_box_and_component():
    drawn = np.ones((2, 3, 4), bool)
    assert masks.bounding_box(drawn) == (slice(0, 2), slice(0, 3), slice(0, 4))
    assert masks.count_components(drawn) == 1
    assert masks.largest_component(drawn).all()


def test_scattered_masks_are_labelled_by_chunks_as_they_are_at_once(monkeypatch):
    """Against scipy, over densities from specks to sponge; two slices a chunk, or all in one."""
    rng = np.random.default_rng(0)
    for density, shape in itertools.product((0.05, 0.15, 0.3, 0.6, 0.9), ((7, 6, 11), (1, 5, 8))):
        drawn = rng.random(shape) < density
        drawn[0, 3, 2] = True
        labels, count = ndimage.label(drawn, np.ones((3, 3, 3)))
        sizes = np.bincount(labels.ravel())[1:]
        filled = ndimage.binary_fill_holes(drawn)
        for voxels in (1, 2 * 6 * 7, 10**6):
            monkeypatch.setattr(components, "_CHUNK_VOXELS", voxels)
            assert masks.count_components(drawn) == count
            largest = masks.largest_component(drawn)
            assert largest.sum() == sizes.max()
            assert len(np.unique(labels[largest])) == 1
            assert np.array_equal(masks.fill_holes(drawn), filled)


def test_a_component_may_wind_through_many_chunks(monkeypatch):
    """Two interlocked combs along k: each is in one piece only by way of its last slice."""
    monkeypatch.setattr(components, "_CHUNK_VOXELS", 1)
    drawn = np.zeros((9, 3, 12), bool)
    drawn[0::4, 0, :] = drawn[0::4, 0, 11] = True
    assert masks.count_components(drawn) == 3
    drawn[:, 0, 11] = True
    assert masks.count_components(drawn) == 1
    assert np.array_equal(masks.largest_component(drawn), drawn)


def test_labels_never_take_more_than_a_chunk(monkeypatch):
    """Specks all over a volume of 8 million voxels: its labels at once would take 16 MB."""
    monkeypatch.setattr(components, "_CHUNK_VOXELS", 1 << 16)
    drawn = np.random.default_rng(0).random((200, 200, 200)) < 0.001
    tracemalloc.start()
    try:
        masks.count_components(drawn)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 5e6


def test_pieces_are_the_larger_components_with_their_boxes_the_largest_first():
    mask_ijk = np.zeros((20, 20, 20), bool)
    mask_ijk[1:3, 1:3, 1:3] = True  # 8 voxels.
    mask_ijk[5:9, 5:9, 5:7] = True  # 32 voxels.
    mask_ijk[15, 15, 15:18] = True  # 3 voxels, less than a fifth of 32.
    assert masks.pieces(mask_ijk, 0.2) == [
        (32, (slice(5, 9), slice(5, 9), slice(5, 7))),
        (8, (slice(1, 3), slice(1, 3), slice(1, 3))),
    ]
    assert masks.pieces(np.zeros((4, 4, 4), bool), 0.2) == []


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_reaches_a_threshold_is_inside(order):
    values = np.asarray(np.arange(24.0).reshape(2, 3, 4), order=order)
    assert np.array_equal(masks.at_least(values, 20.0), values >= 20)
    assert not masks.at_least(values, 24.0).any()


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_pasted_stands_there_and_nothing_else_is_written_to(order):
    """A row that holds 0 leaves what stands there: it would be 0 already."""
    values = np.zeros((4, 3, 2), np.int16, order=order)
    values[1, 2, 0] = 7
    target = np.zeros((6, 6, 6), np.int16, order=order)
    target[2, 2, 2] = 1
    masks.paste(values, target[1:5, 1:4, 2:4])
    assert target[2, 3, 2] == 7
    assert target.sum() == 8


def test_surroundings_are_half_of_the_length_on_each_side():
    box = (slice(10, 20), slice(3, 9), slice(0, 5))
    assert masks.surroundings(box) == (slice(5, 25), slice(0, 12), slice(0, 7))
