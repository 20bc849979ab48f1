"""Labels and data that lie are found before anything is trained on them."""

import dataclasses

import numpy as np
import pytest

from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.datasets import alignment, gate
from spleen_tf.datasets.gate import Look
from spleen_tf.datasets.layouts import Case
from spleen_tf.datasets.splits import Splits
from spleen_tf.imaging.volume import Volume
from spleen_tf.quality import measurements

# Voxels of 3 mm; i grows to the patient's right, so that small i is left.
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
SHAPE = (40, 36, 32)
BOX = np.s_[8:18, 12:22, 10:20]  # 10 × 10 × 10 voxels of 27 mm³ are 27 mL.


def image_with(box=BOX, inside=110, affine=AFFINE, seed=0):
    """Tissue of 40 ± 3 HU with a brighter block."""
    array = np.random.default_rng(seed).normal(40, 3, SHAPE)
    array[box] += inside - 40
    return Volume(array.astype(np.int16), affine, "a.nii.gz")


def label_of(box=BOX):
    label = np.zeros(SHAPE, bool)
    label[box] = True
    return label


def look(image, label, name="a"):
    case = Case(name, "image", "label", "CT")
    return gate.look_at(case, image, label, measurements.measure(image, label))


def look_of(name, brightness=100.0, sha256=None, modality="CT"):
    return Look(
        case=name, modality=modality, doubts=(), brightness=brightness, voxels_sha256=sha256
    )


def test_a_label_on_its_organ_is_fine():
    assert look(image_with(), label_of()).doubts == ()
    assert look(image_with(), label_of()).brightness == pytest.approx(110, abs=1)


@pytest.mark.parametrize(
    ("box", "ras_mm", "text"),
    [
        (np.s_[12:22, 12:22, 10:20], (-12, 0, 0), "12 mm (12 left)"),
        (np.s_[8:18, 8:18, 13:23], (0, 12, -9), "15 mm (12 anterior, 9 inferior)"),
    ],
)
def test_a_label_that_was_moved_is_told_from_where(box, ras_mm, text):
    offset = alignment.better_offset(image_with(), label_of(box), "CT")
    assert offset.ras_mm == pytest.approx(ras_mm)
    assert str(offset) == text
    (doubt,) = look(image_with(), label_of(box)).doubts
    assert f"times as well {text} away; is it shifted?" in doubt


def test_the_direction_is_the_patients_whatever_the_axes(make_affine):
    """Stored LPS, the same voxels lie the other way round in the patient."""
    affine = make_affine("LPS", (3.0, 3.0, 3.0))
    label = label_of(np.s_[12:22, 12:22, 10:20])
    offset = alignment.better_offset(image_with(affine=affine), label, "CT")
    assert offset.ras_mm == pytest.approx((12, 0, 0))


def test_outlines_that_are_off_by_two_voxels_are_experts():
    assert alignment.better_offset(image_with(), label_of(np.s_[10:20, 12:22, 10:20]), "CT") is None


def test_too_small_a_label_or_too_thin_a_volume_is_not_judged():
    # 5 × 5 × 5 voxels are 3.4 mL.
    moved, small = np.s_[2:7, 12:17, 10:15], np.s_[8:13, 12:17, 10:15]
    assert alignment.better_offset(image_with(small), label_of(moved), "CT") is None
    thin = dataclasses.replace(image_with(), array_ijk=image_with().array_ijk[:, :, 9:12])
    assert alignment.better_offset(thin, label_of()[:, :, 9:12], "CT") is None


def test_a_spleen_on_the_right_or_cut_off_is_doubtful():
    right, cut = np.s_[24:34, 12:22, 10:20], np.s_[8:18, 12:22, 22:32]
    (on_the_right,) = look(image_with(right), label_of(right)).doubts
    assert on_the_right == "the spleen lies in the right half of the volume; check the header"
    (cut_off,) = look(image_with(cut), label_of(cut)).doubts
    assert cut_off == "the spleen touches the volume's edge: its volume is a lower bound"


def test_a_case_without_spleen_is_not_doubtful():
    without = look(image_with(), np.zeros(SHAPE, bool))
    assert (without.doubts, without.brightness) == ((), None)


def test_a_label_of_another_organ_stands_out_by_its_intensity():
    """Of 90, 92, … 104 and −100 the median is 96 and the deviations' median 4, raised to 10.

    The score of −100 is 0.6745 · (−196) / 10 = −13.2.
    """
    looks = [look_of(f"c{n}", 90.0 + 2 * n) for n in range(8)] + [look_of("odd", -100.0)]
    assert gate.findings(looks) == {
        "odd": (
            "the label's median intensity of -100 HU is unlike the others' (median 96, modified "
            "z-score -13.2); check the label, and the contrast of the image",
        )
    }


def test_few_cases_and_other_modalities_are_not_compared():
    looks = [look_of(f"c{n}") for n in range(6)] + [look_of("odd", -100.0)]
    assert gate.findings(looks) == {}
    assert gate.findings([*looks, look_of("mr", 0.4, modality="MR")]) == {}


def test_a_copy_is_known_by_its_voxels_whatever_its_name_header_and_axes(make_affine):
    image = image_with()
    turned = Volume(image.array_ijk[::-1].transpose(2, 0, 1), make_affine("RSA"), "b.nii.gz")
    a, b = look(image, label_of(), "a"), look(turned, label_of()[::-1].transpose(2, 0, 1), "b")
    assert a.voxels_sha256 == b.voxels_sha256
    assert "the image has the same voxels as b" in gate.findings([a, b])["a"]
    another = look(image_with(seed=1), label_of(), "c")
    assert another.voxels_sha256 != a.voxels_sha256
    as_floats = dataclasses.replace(image, array_ijk=image.array_ijk / np.float32(3))
    assert look(as_floats, label_of()).voxels_sha256 not in (a.voxels_sha256, None)


def test_images_of_few_values_are_no_copies_of_each_other():
    image = Volume(label_of().astype(np.int16), AFFINE, "a.nii.gz")
    assert look(image, label_of()).voxels_sha256 is None
    assert gate.findings([look_of("a"), look_of("b")]) == {}


def test_copies_in_both_splits_are_rejected_and_in_one_are_not():
    looks = [look_of("a", sha256="x"), look_of("b", sha256="x"), look_of("c"), look_of("d")]
    gate.check_splits(looks, Splits(train=("a", "b", "c"), validation=("d",)))
    with pytest.raises(
        InputError, match=r"^b: expected another image to validate with .* as in a;"
    ):
        gate.check_splits(looks, Splits(train=("a", "c"), validation=("b", "d")))


def test_findings_are_warnings_or_with_strict_one_line():
    found = {"a": ("one", "two"), "b": ("three",)}
    with pytest.warns(InputWarning) as warned:
        gate.report(found, strict=False)
    assert [str(w.message) for w in warned] == ["a: one; two", "b: three"]
    with pytest.raises(
        InputError, match=r"^--strict: .* found 2 with: a: one; two; b: three; corr"
    ):
        gate.report(found, strict=True)
    gate.report({}, strict=True)
