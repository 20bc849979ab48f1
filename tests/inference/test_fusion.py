"""Models whose weights are set by hand (see fixtures), so that every probability is known.

The CT model looks one slice, one row and one column back: what is bright comes out moved by one
voxel towards each, which way these may run in the stored array. The MR model takes each pixel for
itself. A windowed intensity x gets the probability σ(8 (x − 1/2)).
"""

import itertools
import json
import pathlib

import msgspec
import nibabel
import numpy as np
import pytest
import tensorflow as tf
from fixtures import records

from spleen_tf.core.files import InputError
from spleen_tf.imaging import planes
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import fusion, loading, modality, model_files, runtimes, tta
from spleen_tf.inference.engine import Engine
from spleen_tf.inference.fusion import Fusion
from spleen_tf.inference.member import Member

DARK_HU, BRIGHT_HU = -160, 240  # The ends of the CT model's window.
SHAPE = (12, 10, 9)
TENSORFLOW = Engine("tensorflow", precision="float32")

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
    found = {}
    for name, folder in exported.items():
        (found[name],) = loading.members(model_files.find([folder]), TENSORFLOW)
    return found


@pytest.fixture(scope="module")
def member(members):
    """A function that returns a member with some entries of its model.json replaced."""

    def with_entries(modality, /, **entries):
        model = members[modality]
        return Member(msgspec.structs.replace(model.info, **entries), model.runtime, model.folder)

    return with_entries


def fused(models, image, **options):
    """What models see everywhere, by the windows that a family takes."""
    return Fusion(models, image, windows_of(models, image), **options).look_everywhere()


def probability(models, image, **options):
    return fused(models, image, **options).probability_ijk


def windows_of(models, image):
    infos = [model.info for model in models]
    taken = modality.taken(image, modality.of_models(infos))
    return modality.windows(image, taken.modality, infos)


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
        found = probability([model], image)
        expected_here, _ = stored(expected, affine, codes)
        np.testing.assert_allclose(found, sigma(expected_here), atol=1e-3, err_msg=codes)


def test_slices_of_another_pixel_size_are_resampled_there_and_back(member, make_affine):
    """A block of 16 mm at 1 mm and at 4 mm a row: its edges stay where they are in the patient."""
    affine = make_affine("RAS", (1, 3, 4))
    values = np.full((40, 4, 12), 0, np.int16)
    values[12:28, :, 4:8] = 1000
    image = Volume(values, affine, "a.nii")
    found = probability([member("MR", plane="coronal")], image)
    assert found.shape == image.shape
    assert np.array_equal(found >= 0.5, values > 0)


def test_probabilities_are_half_precision_as_they_lie_in_the_source(member, noise):
    found = probability([member("CT")], noise)
    assert found.dtype == np.float16
    assert found.shape == noise.shape
    assert 0 <= found.min() < 0.05
    assert 0.95 < found.max() <= 1


def test_the_volume_is_left_alone(member, noise):
    before = noise.array_ijk.copy()
    probability([member("CT"), member("CT", plane="axial")], noise, tta=True)
    assert np.array_equal(noise.array_ijk, before)


@pytest.fixture
def slices_a_batch(monkeypatch):
    """A function that bounds the batches of coronal slices of the noise, 9 × 12 pixels each."""

    def bound(count):
        sizes = dict.fromkeys(("CPU", "GPU"), count * 9 * 12)
        monkeypatch.setattr(runtimes, "PIXELS_PER_BATCH", sizes)

    return bound


@pytest.mark.parametrize("count", [1, 2, 4, 9])
@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_streaming_finds_what_one_batch_finds(slices_a_batch, member, noise, modality, count):
    """With three channels, the neighbours of a batch travel along."""
    model = member(modality, plane="coronal")
    at_once = probability([model], noise)
    slices_a_batch(count)
    np.testing.assert_allclose(probability([model], noise), at_once, atol=1e-3)


class Bare(runtimes.SavedModel):
    """A SavedModel of which the signature `windowed` is all there is."""

    def __init__(self, windowed):
        self._windowed = windowed

    @property
    def _functions(self):
        return self._windowed, None


def test_streaming_needs_nothing_but_the_signatures(slices_a_batch, member, noise):
    """A SavedModel of another maker may have no function that leaves neighbours out."""
    model = member("CT", plane="coronal")
    at_once = probability([model], noise)
    windowed, _ = model.runtime._functions
    bare = Member(model.info, Bare(windowed), model.folder)
    slices_a_batch(2)
    np.testing.assert_allclose(probability([bare], noise), at_once, atol=1e-3)


def test_streaming_sends_batches_of_bounded_size(monkeypatch, slices_a_batch, member, noise):
    """Four slices and a neighbour on either side; only of the four does the network speak."""
    model = member("CT", plane="coronal")
    sent, answered, run = [], [], model.runtime.probability

    def counted(slices_nhw, *others):
        found = run(slices_nhw, *others)
        sent.append(len(slices_nhw))
        answered.append(len(found))
        return found

    monkeypatch.setattr(model.runtime, "probability", counted)
    slices_a_batch(4)
    probability([model], noise)
    assert sent == [5, 6, 3]  # Of slices 0…9: 0…4, 3…8, 7…9.
    assert answered == [4, 4, 2]


def test_slices_that_do_not_fit_into_memory_are_named_with_their_size(member, noise):
    def exhausted(**slices):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    model = Member(member("CT", plane="coronal").info, Bare(exhausted), pathlib.Path())
    with pytest.raises(InputError, match=r"^noise\.nii: .* found 18 by 24 mm in pixels of \["):
        probability([model], noise)


def test_members_of_different_planes_are_fused_by_their_mean(member, noise):
    models = [member("CT", plane=plane) for plane in MOVED_IJK]
    alone = [probability([model], noise).astype(np.float64) for model in models]
    assert np.abs(alone[0] - alone[1]).max() > 0.5
    together = probability(models, noise)
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=2e-3)


def test_test_time_augmentation_is_the_mean_over_body_sizes(members, member, make_affine):
    """Smooth noise, 16 pixels of 2 mm a side, seen as it is, and as if 8% smaller and larger."""
    coarse = np.random.default_rng(1).uniform(0, 1000, (4, 4, 4))
    values = np.kron(coarse, np.ones((4, 4, 4))).astype(np.int16)
    image = Volume(values, make_affine("LPS", (2, 2, 2)), "a.nii")
    # Stored LPS, axial slices are [k], rows to posterior (+j), columns to left (+i).
    slices = tf.constant(values.transpose(2, 1, 0), tf.float32)
    window = tf.constant(np.percentile(values, [0.5, 99.5]), tf.float32)
    windowed, _ = members["MR"].runtime._functions
    sizes = [
        windowed(slices=slices, pixel_mm=tf.constant([mm, mm]), window=window)
        for mm in (2.0, 0.92 * 2.0, 1.08 * 2.0)
    ]
    expected = np.mean([size["probability"] for size in sizes], axis=0).transpose(2, 1, 0)
    model = member("MR", plane="axial")
    found = probability([model], image, tta=True)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert np.abs(found - probability([model], image)).max() > 0.01


def test_ct_is_windowed_in_hounsfield_units_and_mr_by_its_own_percentiles(member, noise):
    assert windows_of([member("CT")], noise) == [(-160, 240)]
    expected = np.percentile(noise.array_ijk, [0.5, 99.5])
    np.testing.assert_allclose(windows_of([member("MR")], noise), [expected], rtol=1e-6)


def test_fused_models_have_the_mean_of_their_thresholds(member):
    models = [member("MR", threshold=0.3), member("MR", threshold=0.4)]
    assert fusion.threshold(models) == pytest.approx(0.35)


def test_percentiles_are_of_the_volume_not_of_the_batch(slices_a_batch, member, make_affine):
    """Each coronal slice is constant: by its own percentiles, it would be all dark."""
    values = np.broadcast_to((100 * np.arange(11))[None, :, None], (6, 11, 5)).astype(np.int16)
    image = Volume(values, make_affine("RAS", (2, 2, 2)), "a.nii")
    slices_a_batch(0)  # One at a time, whatever their size.
    found = probability([member("MR", plane="coronal")], image)
    np.testing.assert_allclose(found[3, :, 2], sigma(np.arange(11) / 10), atol=1e-3)


@pytest.fixture
def default_precision():
    yield
    runtimes.setup("auto", "float32")


@pytest.mark.usefixtures("default_precision")
@pytest.mark.slow
def test_every_precision_finds_the_same_within_its_own(exported, noise):
    """bfloat16 has 8 bits: x is off by 0.002 at a few places, σ' is at most 2."""
    found = {}
    for precision in ("float32", "bfloat16", "float16", "again float32"):
        note = runtimes.setup("cpu", precision.removeprefix("again "))
        assert precision.removeprefix("again ") in note
        found[precision] = probability(
            loading.members(model_files.find([exported["CT"]]), TENSORFLOW), noise
        )
    for precision in ("bfloat16", "float16"):
        np.testing.assert_allclose(found[precision], found["float32"], atol=0.03)
    # An earlier choice in the same process does not stay.
    np.testing.assert_array_equal(found["again float32"], found["float32"])


@pytest.mark.usefixtures("default_precision")
def test_the_automatic_precision_says_why():
    chosen, reason = runtimes.setup("auto", "auto").split(": ")
    assert chosen in ("float32", "mixed_bfloat16", "mixed_float16")
    assert reason


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(
        InputError, match=r"--device=gpu:99: expected a GPU that TensorFlow can use"
    ):
        runtimes.setup("gpu:99", "float32")


@pytest.mark.parametrize("damaged", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
def test_a_damaged_saved_model_is_refused(model_copy, damaged):
    place = model_copy("MR")
    content = (place / damaged).read_bytes()
    (place / damaged).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"model: expected a SavedModel .* does not load"):
        loading.resolve([place], TENSORFLOW).start(TENSORFLOW)


def test_a_saved_model_without_the_signature_is_refused(exported, tmp_path):
    place = tmp_path / "other"
    tf.saved_model.save(tf.Module(), str(place))
    info = json.loads((exported["MR"] / "assets.extra" / "model.json").read_text())
    (place / "assets.extra").mkdir()
    (place / "assets.extra" / "model.json").write_text(json.dumps(info))
    with pytest.raises(
        InputError, match=r"other: expected a SavedModel .* does not load \('windowed'"
    ):
        loading.resolve([place], TENSORFLOW).start(TENSORFLOW)


def test_nan_is_no_probability(monkeypatch, member, noise):
    """As when activations are too large for half precision: no mask is made of it."""
    model = member("MR")
    monkeypatch.setattr(model.runtime, "probability", lambda slices_nhw, *_: slices_nhw * np.nan)
    with pytest.raises(
        InputError, match="by_hand_MR: expected probabilities, found NaN; use --prec"
    ):
        probability([model], noise)


def test_votes_are_the_masks_of_each_view_alone(member, noise):
    models = [member("CT"), member("CT", plane="axial")]
    for (view_mask,), model in zip(fused(models, noise).views, models, strict=True):
        np.testing.assert_array_equal(view_mask.mask_ijk(), probability([model], noise) >= 0.5)


def test_test_time_augmentation_votes_with_each_of_its_views(member, noise):
    views = fused([member("CT"), member("CT")], noise, tta=True).views
    assert [len(views_of_member) for views_of_member in views] == 2 * [len(tta.AUGMENTED)]


def test_a_member_by_itself_is_compared_with_what_it_finds_in_other_views(member, noise):
    """Noise does not survive being resampled as it is."""
    model = member("CT", plane="axial")
    mask = probability([model], noise) >= 0.5
    (window,) = modality.windows(noise, "CT", [model.info])
    result_nhw, views_nhw = fusion.shown_differently(model, noise, window, mask)
    assert len(views_nhw) == len(tta.OF_SINGLE_MEMBER)
    slices_nhw = planes.split(mask, noise.affine, "axial")
    assert all(any((row == other).all() for other in slices_nhw) for row in result_nhw)
    for view_nhw in views_nhw:
        assert view_nhw.shape == result_nhw.shape
        assert view_nhw.any()
        assert (view_nhw != result_nhw).any()


@pytest.mark.parametrize(
    ("with_spleen", "count", "expected"),
    [
        # Ten slices from 40 on, and five on each side; every second fits twelve samples or so.
        (range(40, 50), 100, [35, 37, 38, 40, 42, 44, 45, 47, 49, 51, 52, 54]),
        (range(2, 6), 100, list(range(8))),  # Fewer than twelve: all of them.
        (range(0), 24, [0, 2, 4, 6, 8, 10, 13, 15, 17, 19, 21, 23]),
    ],
)
def test_views_are_shown_to_a_sample_of_slices_around_the_result(with_spleen, count, expected):
    assert fusion._sample(np.array(with_spleen, int), count) == expected


class TheIntensities:
    """A runtime whose probabilities are the intensities."""

    pixels_per_batch = 1 << 20

    def probability(self, slices_nhw, pixel_mm, window, margins):
        return slices_nhw


def intensities(values, make_affine):
    """A volume, and a member that takes its values for probabilities."""
    info = records.of_model(modality="CT", window=(0.0, 1.0), image_size=16)
    image = Volume(values, make_affine("RAS", (2, 2, 2)), "probabilities")
    return image, Member(info, TheIntensities(), pathlib.Path())


def test_shares_too_small_for_half_precision_count_as_none(make_affine):
    # The smallest normal number of float16 is 2^-14; two members halve each probability.
    values = np.zeros(SHAPE, np.float32)
    values[:4, 0, 0] = (2.0**-13, 2.0**-14, 1e-6, 0.5)
    image, member = intensities(values, make_affine)
    pair = Fusion([member, member], image, [(0.0, 1.0)] * 2).look_everywhere()
    assert pair.probability_ijk[:4, 0, 0].tolist() == [2.0**-13, 0.0, 0.0, 0.5]


def test_rows_of_shares_below_an_eighth_of_a_thousandth_are_left_out(make_affine):
    # Of an axial slice stored RAS, rows run along i. 2^-13 is 0.00012.
    values = np.zeros(SHAPE, np.float32)
    values[:2, 0, 0] = 2.0**-14
    values[:2, 1, 0] = (2.0**-14, 2.0**-13)
    image, member = intensities(values, make_affine)
    alone = Fusion([member], image, [(0.0, 1.0)]).look_everywhere()
    assert alone.probability_ijk[:2, :2, 0].T.tolist() == [[0.0, 0.0], [2.0**-14, 2.0**-13]]


def test_a_member_sees_the_slices_that_it_is_asked_for(make_affine):
    values = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    image, member = intensities(values, make_affine)
    fused_in_part = Fusion([member], image, [(0.0, 1.0)])
    fused_in_part.look(0, (2, 5))
    fused_in_part.look(0, (7, 9))
    expected = values.copy()
    expected[..., [0, 1, 5, 6]] = 0
    np.testing.assert_allclose(fused_in_part.probability_ijk, expected, atol=1e-3)
    ((view_mask,),) = fused_in_part.views
    np.testing.assert_array_equal(view_mask.mask_ijk(), expected >= 0.5)
    above = np.where(expected >= 0.5, expected, 0).sum(axis=(0, 1))
    np.testing.assert_allclose(fused_in_part.above[0], above, rtol=1e-5)
