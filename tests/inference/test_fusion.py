"""Models whose weights are set by hand (see conftest.py), so that every probability is known.

The CT model looks one slice, one row and one column back: what is bright comes out moved by one
voxel towards each, which way these may run in the stored array. The MR model takes each pixel for
itself. A windowed intensity x gets the probability σ(8 (x − 1/2)).
"""

import copy
import dataclasses
import itertools
import json

import nibabel
import numpy as np
import pytest
import tensorflow as tf

from spleen_tf.core.files import InputError
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import fusion, tta

DARK_HU, BRIGHT_HU = -160, 240  # The ends of the CT model's window.
SHAPE = (12, 10, 9)

# Towards where slices, rows and columns run in a plane; as steps in an array that is stored RAS.
MOVED_IJK = {
    "coronal": (
        -1,
        +1,
        -1,
    ),  # Slices to anterior (+j), rows to inferior (−k), columns to left (−i).
    "axial": (-1, -1, +1),  # Slices to superior (+k), rows to posterior (−j), columns to left.
    "sagittal": (+1, -1, -1),  # Slices to right (+i), rows to inferior, columns to posterior.
}
AXIS_ORDERS = [
    "".join(codes)
    for pairs in itertools.permutations(("RL", "AP", "SI"))
    for codes in itertools.product(*pairs)
]


def sigma(x):
    return 1 / (1 + np.exp(-8 * (np.asarray(x) - 0.5)))


@pytest.fixture(scope="module")
def members(exported):
    return {modality: fusion.Member(folder) for modality, folder in exported.items()}


@pytest.fixture(scope="module")
def member(members):
    """A function that returns a member with some entries of its model.json replaced."""

    def with_entries(modality, /, **entries):
        changed = copy.copy(members[modality])
        changed.info = {**changed.info, **entries}
        return changed

    return with_entries


@pytest.fixture
def noise(make_affine):
    """Voxels of 2 mm and of every intensity, stored RAS."""
    values = np.random.default_rng(0).integers(-300, 400, SHAPE)
    return Volume(values.astype(np.int16), make_affine("RAS", (2, 2, 2)), "noise.nii")


def stored(array_ras, affine_ras, codes):
    """An array stored RAS and its affine, stored in another order (by nibabel)."""
    transform = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
    )
    array = nibabel.orientations.apply_orientation(array_ras, transform)
    affine = affine_ras @ nibabel.orientations.inv_ornt_aff(transform, array_ras.shape)
    return array, affine


@pytest.mark.parametrize("plane", MOVED_IJK)
def test_a_plane_is_anatomical_in_all_48_axis_orders(member, make_affine, plane):
    """An L of two blocks, so that no flip or exchange of axes looks like another."""
    spleen = np.zeros(SHAPE, bool)
    spleen[3:6, 2:7, 2:4] = spleen[3:5, 2:4, 4:6] = True
    expected = np.roll(spleen, MOVED_IJK[plane], axis=(0, 1, 2))
    values = np.where(spleen, BRIGHT_HU, DARK_HU).astype(np.int16)
    affine = make_affine("RAS", (2, 2, 2))
    model = member("CT", plane=plane)
    assert len(AXIS_ORDERS) == 48
    for codes in AXIS_ORDERS:
        image = Volume(*stored(values, affine, codes), f"{codes}.nii")
        assert image.orientation == codes
        found = fusion.probability([model], image)
        expected_here, _ = stored(expected, affine, codes)
        np.testing.assert_allclose(found, sigma(expected_here), atol=1e-3, err_msg=codes)


def test_slices_of_another_pixel_size_are_resampled_there_and_back(member, make_affine):
    """A block of 16 mm at 1 mm and at 4 mm a row: its edges stay where they are in the patient."""
    affine = make_affine("RAS", (1, 3, 4))
    values = np.full((40, 4, 12), 0, np.int16)
    values[12:28, :, 4:8] = 1000
    image = Volume(values, affine, "a.nii")
    found = fusion.probability([member("MR", plane="coronal")], image)
    assert found.shape == image.shape
    assert np.array_equal(found >= 0.5, values > 0)


def test_probabilities_are_half_precision_as_they_lie_in_the_source(member, noise):
    found = fusion.probability([member("CT")], noise)
    assert found.dtype == np.float16
    assert found.shape == noise.shape
    assert 0 <= found.min() < 0.05
    assert 0.95 < found.max() <= 1


def test_the_volume_is_left_alone(member, noise):
    before = noise.array_ijk.copy()
    fusion.probability([member("CT"), member("CT", plane="axial")], noise, tta=True)
    assert np.array_equal(noise.array_ijk, before)


@pytest.fixture
def slices_a_batch(monkeypatch):
    """A function that bounds the batches of coronal slices of the noise, 9 × 12 pixels each."""

    def bound(count):
        sizes = dict.fromkeys(("CPU", "GPU"), count * 9 * 12)
        monkeypatch.setattr(fusion, "_PIXELS_A_BATCH", sizes)

    return bound


@pytest.mark.parametrize("count", [1, 2, 4, 9])
@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_streaming_finds_what_one_batch_finds(slices_a_batch, member, noise, modality, count):
    """With three channels, the neighbours of a batch travel along."""
    model = member(modality, plane="coronal")
    at_once = fusion.probability([model], noise)
    slices_a_batch(count)
    np.testing.assert_allclose(fusion.probability([model], noise), at_once, atol=1e-3)


def test_streaming_needs_nothing_but_the_signatures(slices_a_batch, member, noise):
    """A SavedModel of another maker may have no function that leaves neighbours out."""
    model = member("CT", plane="coronal")
    at_once = fusion.probability([model], noise)
    model._inner = None
    slices_a_batch(2)
    np.testing.assert_allclose(fusion.probability([model], noise), at_once, atol=1e-3)


def test_streaming_sends_batches_of_bounded_size(monkeypatch, slices_a_batch, member, noise):
    """Four slices and a neighbour on either side; only of the four does the network speak."""
    model = member("CT", plane="coronal")
    sent, answered, run = [], [], model._run

    def counted(image, slices_nhw, *others):
        found = run(image, slices_nhw, *others)
        sent.append(len(slices_nhw))
        answered.append(len(found))
        return found

    monkeypatch.setattr(model, "_run", counted)
    slices_a_batch(4)
    fusion.probability([model], noise)
    assert sent == [5, 6, 3]  # Of slices 0…9: 0…4, 3…8, 7…9.
    assert answered == [4, 4, 2]


def test_slices_that_do_not_fit_into_memory_are_told_by_their_size(monkeypatch, member, noise):
    import tensorflow as tf

    def exhausted(**slices):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    model = member("CT", plane="coronal")
    monkeypatch.setattr(model, "_inner", None)
    monkeypatch.setattr(model, "_windowed", exhausted)
    with pytest.raises(InputError, match=r"^noise\.nii: .* found 18 by 24 mm in pixels of \["):
        fusion.probability([model], noise)


def test_members_of_different_planes_are_fused_by_their_mean(member, noise):
    models = [member("CT", plane=plane) for plane in MOVED_IJK]
    alone = [fusion.probability([model], noise).astype(np.float64) for model in models]
    assert np.abs(alone[0] - alone[1]).max() > 0.5
    fused = fusion.probability(models, noise)
    np.testing.assert_allclose(fused, np.mean(alone, axis=0), atol=2e-3)


def test_test_time_augmentation_is_the_mean_over_body_sizes(members, member, make_affine):
    """Smooth noise, 16 pixels of 2 mm a side, seen as it is, and as if 8% smaller and larger."""
    import tensorflow as tf

    coarse = np.random.default_rng(1).uniform(0, 1000, (4, 4, 4))
    values = np.kron(coarse, np.ones((4, 4, 4))).astype(np.int16)
    image = Volume(values, make_affine("LPS", (2, 2, 2)), "a.nii")
    # Stored LPS, axial slices are [k], rows to posterior (+j), columns to left (+i).
    slices = tf.constant(values.transpose(2, 1, 0), tf.float32)
    window = tf.constant(np.percentile(values, [0.5, 99.5]), tf.float32)
    sizes = [
        members["MR"]._windowed(slices=slices, pixel_mm=tf.constant([mm, mm]), window=window)
        for mm in (2.0, 0.92 * 2.0, 1.08 * 2.0)
    ]
    expected = np.mean([size["probability"] for size in sizes], axis=0).transpose(2, 1, 0)
    model = member("MR", plane="axial")
    found = fusion.probability([model], image, tta=True)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert np.abs(found - fusion.probability([model], image)).max() > 0.01


def test_ct_is_windowed_in_hounsfield_units_and_mr_by_its_own_percentiles(member, noise):
    assert member("CT").window(noise) == (-160, 240)
    expected = np.percentile(noise.array_ijk, [0.5, 99.5])
    np.testing.assert_allclose(member("MR").window(noise), expected, rtol=1e-6)


def test_a_model_for_any_modality_takes_air_far_below_zero_for_hounsfield_units(member, noise):
    model = member("MR", modality="any")
    positive = dataclasses.replace(noise, array_ijk=noise.array_ijk + np.int16(300))
    assert (model.modality(positive), model.modality(noise)) == ("MR", "CT")
    expected = np.percentile(positive.array_ijk, [0.5, 99.5])
    np.testing.assert_allclose(model.window(positive), expected, rtol=1e-6)
    assert model.window(noise) == (-160, 240)


def test_fused_models_have_the_mean_of_their_thresholds(member):
    models = [member("MR", threshold=0.3), member("MR", threshold=0.4)]
    assert fusion.threshold(models) == pytest.approx(0.35)
    old = member("MR")
    del old.info["threshold"]
    assert fusion.threshold([old]) == 0.5


def test_percentiles_are_of_the_volume_not_of_the_batch(slices_a_batch, member, make_affine):
    """Each coronal slice is constant: by its own percentiles, it would be all dark."""
    values = np.broadcast_to((100 * np.arange(11))[None, :, None], (6, 11, 5)).astype(np.int16)
    image = Volume(values, make_affine("RAS", (2, 2, 2)), "a.nii")
    slices_a_batch(0)  # One at a time, whatever their size.
    found = fusion.probability([member("MR", plane="coronal")], image)
    np.testing.assert_allclose(found[3, :, 2], sigma(np.arange(11) / 10), atol=1e-3)


@pytest.fixture
def default_precision():
    yield
    fusion.setup("auto", "float32")


@pytest.mark.usefixtures("default_precision")
def test_every_precision_finds_the_same_within_its_own(exported, noise):
    """bfloat16 has 8 bits: x is off by 0.002 at a few places, σ' is at most 2."""
    found = {}
    for precision in ("float32", "bfloat16", "float16", "again float32"):
        note = fusion.setup("cpu", precision.removeprefix("again "))
        assert precision.removeprefix("again ") in note
        found[precision] = fusion.probability([fusion.Member(exported["CT"])], noise)
    for precision in ("bfloat16", "float16"):
        np.testing.assert_allclose(found[precision], found["float32"], atol=0.03)
    # An earlier choice in the same process does not stay.
    np.testing.assert_array_equal(found["again float32"], found["float32"])


@pytest.mark.usefixtures("default_precision")
def test_the_automatic_precision_says_why():
    chosen, reason = fusion.setup("auto", "auto").split(": ")
    assert chosen in ("float32", "mixed_bfloat16", "mixed_float16")
    assert reason


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(
        InputError, match=r"--device=gpu:99: expected a GPU that TensorFlow can use"
    ):
        fusion.setup("gpu:99", "float32")


def test_a_family_is_loaded_member_by_member(model_copy):
    model_copy("MR", "family/coronal/saved_model", name="family-coronal", plane="coronal")
    family = model_copy("MR", "family/axial/saved_model", name="family-axial", plane="axial")
    loaded = fusion.load([family.parents[1]])
    assert [model.info["name"] for model in loaded] == ["family-axial", "family-coronal"]


@pytest.mark.parametrize("damaged", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
def test_a_damaged_saved_model_is_refused(model_copy, damaged):
    place = model_copy("MR")
    content = (place / damaged).read_bytes()
    (place / damaged).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"model: expected a SavedModel .* does not load"):
        fusion.load([place])


def test_a_saved_model_without_the_signature_is_refused(exported, tmp_path):
    import tensorflow as tf

    place = tmp_path / "other"
    tf.saved_model.save(tf.Module(), str(place))
    info = json.loads((exported["MR"] / "assets.extra" / "model.json").read_text())
    (place / "assets.extra").mkdir()
    (place / "assets.extra" / "model.json").write_text(json.dumps(info))
    with pytest.raises(
        InputError, match=r"other: expected a SavedModel .* does not load \('windowed'"
    ):
        fusion.load([place])


def test_nan_is_no_probability(monkeypatch, member, noise):
    """As when activations are too large for half precision: no mask is made of it."""
    model = member("MR")
    monkeypatch.setattr(model, "_run", lambda image, slices_nhw, *_: slices_nhw * np.nan)
    with pytest.raises(
        InputError, match="by_hand_MR: expected probabilities, found NaN; use --prec"
    ):
        fusion.probability([model], noise)


def test_votes_are_the_masks_of_each_view_alone(member, noise):
    models = [member("CT"), member("CT", plane="axial")]
    votes = []
    fused = fusion.probability(models, noise, votes=votes)
    np.testing.assert_array_equal(fused, fusion.probability(models, noise))
    for vote, model in zip(votes, models, strict=True):
        np.testing.assert_array_equal(vote.mask_ijk(), fusion.probability([model], noise) >= 0.5)


def test_test_time_augmentation_votes_with_each_of_its_views(member, noise):
    votes = []
    fusion.probability([member("CT")], noise, tta=True, votes=votes)
    assert len(votes) == len(tta.AUGMENTED) + 3  # By itself it votes on turns and a shift, too.
    votes = []
    fusion.probability([member("CT"), member("CT")], noise, tta=True, votes=votes)
    assert len(votes) == 2 * len(tta.AUGMENTED)


def test_a_member_by_itself_votes_on_views_that_do_not_count_in_the_mean(member, noise):
    votes = []
    found = fusion.probability([member("CT")], noise, votes=votes)
    np.testing.assert_array_equal(found, fusion.probability([member("CT")], noise))
    assert len(votes) == len(tta.VOTING)
    as_is, *others = (vote.mask_ijk() for vote in votes)
    np.testing.assert_array_equal(as_is, found >= 0.5)
    for turned in others[2:4]:  # Noise does not survive being resampled as it is.
        assert turned.any()
        assert (turned != as_is).any()


def test_a_direction_is_mirrored_in_a_plane_that_shows_it(member, noise):
    found = fusion.mirrored_ml([member("MR", plane="axial")], noise)
    assert found.keys() == {"right", "anterior"}
    found = fusion.mirrored_ml([member("MR", plane=plane) for plane in MOVED_IJK], noise)
    assert found.keys() == {"right", "anterior", "superior"}
    # A model that knows no contrast takes a liver in the mirror for a spleen.
    of_any = [member("MR", plane=plane, modality="any") for plane in MOVED_IJK]
    found = fusion.mirrored_ml(of_any, noise)
    assert found.keys() == {"anterior", "superior"}


def test_a_network_that_looks_at_single_pixels_finds_as_much_in_the_mirror(member, noise):
    for as_is, mirror in fusion.mirrored_ml([member("MR", plane="axial")], noise).values():
        assert mirror == pytest.approx(as_is, rel=1e-3)
        # Bright halves of the voxels, 8 mm³ each, at probabilities from a half to one.
        assert 0.3 < as_is / (noise.array_ijk.size * 8 / 1000) < 0.5


class _SeesOneSide:
    """Finds spleen in the first column, or the last row, of a slice."""

    def __init__(self, place):
        self._place = place

    def __call__(self, slices, pixel_mm, window):
        found = np.zeros(slices.shape, np.float32)
        found[self._place] = slices.numpy()[self._place] > 0
        return {"probability": tf.constant(found)}


@pytest.mark.parametrize(
    ("place", "bright", "direction"),
    [
        (np.s_[:, :, 0], np.s_[0], "right"),  # Columns run to the left: the first is right.
        (np.s_[:, -1, :], np.s_[:, -1], "anterior"),  # The last row is posterior.
    ],
)
def test_anatomy_that_shows_in_the_mirror_only_is_found_there(
    member, make_affine, place, bright, direction
):
    """Stored RAS, an edge that the network would take for spleen is on the other side."""
    model = copy.copy(member("MR", plane="axial"))
    model._inner, model._windowed = None, _SeesOneSide(place)
    values = np.zeros((20, 20, 20), np.int16)
    values[bright] = 100
    image = Volume(values, make_affine("RAS", (2, 2, 2)), "a.nii")
    as_is, mirror = fusion.mirrored_ml([model], image)[direction]
    assert (as_is, mirror) == (0.0, pytest.approx(400 * 8 / 1000))


def test_all_planes_that_show_a_direction_are_asked(member, make_affine):
    """What one plane sees in the mirror alone is weighed against another that sees all as it is."""
    axial, sagittal = (copy.copy(member("MR", plane=plane)) for plane in ("axial", "sagittal"))
    for model, place in ((axial, np.s_[:, -1, :]), (sagittal, np.s_[:, :, 0])):
        model._inner, model._windowed = None, _SeesOneSide(place)
    values = np.zeros((20, 20, 20), np.int16)
    values[:, -1] = 100  # Anterior: first row of axial slices, first column of sagittal ones.
    image = Volume(values, make_affine("RAS", (2, 2, 2)), "a.nii")
    side_ml = 400 * 8 / 1000
    found = [fusion.mirrored_ml([m], image)["anterior"] for m in (axial, sagittal)]
    np.testing.assert_allclose(found, [(0, side_ml), (side_ml, 0)])
    both = fusion.mirrored_ml([axial, sagittal], image)
    assert both["anterior"] == pytest.approx((side_ml / 2, side_ml / 2))
