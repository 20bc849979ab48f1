"""Length, width and thickness: of shapes whose size is known, and beside SimpleITK's statistics."""

import math

import numpy as np
import pytest
import SimpleITK as sitk

from spleen_tf.imaging import planes
from spleen_tf.io import nifti
from spleen_tf.quality import dimensions

# An ellipsoid 100 mm from head to foot, 120 mm along its long axis, which lies 30° from the left,
# and 50 mm thick.
LENGTH_MM, WIDTH_MM, THICKNESS_MM = 100.0, 120.0, 50.0
TURNED = math.radians(30)


def grid(affine, shape):
    """RAS+ millimetres of each voxel's centre, (3, I, J, K), with the grid's middle at 0."""
    middle = affine[:3, :3] @ (np.array(shape) - 1) / 2
    return np.tensordot(affine[:3, :3], np.indices(shape), axes=1) - middle[:, None, None, None]


def ellipsoid(affine, shape):
    x, y, z = grid(affine, shape)
    along = x * math.cos(TURNED) + y * math.sin(TURNED)
    across = -x * math.sin(TURNED) + y * math.cos(TURNED)
    sides = ((along, WIDTH_MM), (across, THICKNESS_MM), (z, LENGTH_MM))
    return sum((2 * place / size) ** 2 for place, size in sides) <= 1


def turned(zooms_mm, *degrees):
    """An affine of voxels of this size, turned about the x axis, then about the y axis."""
    a, b = map(math.radians, degrees)
    about_x = [[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]]
    about_y = [[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]]
    affine = np.eye(4)
    affine[:3, :3] = np.array(about_y) @ np.array(about_x) @ np.diag(zooms_mm)
    return affine


def is_known_ellipsoid(measured, pixel_mm, slice_mm):
    return measured == dimensions.Dimensions(
        pytest.approx(LENGTH_MM, abs=slice_mm),
        pytest.approx(WIDTH_MM, abs=pixel_mm),
        pytest.approx(THICKNESS_MM, abs=1.5 * pixel_mm),
    )


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SLP", "AIR"])
def test_an_ellipsoid_has_its_size_however_it_is_stored(make_affine, codes):
    """Voxels of 1.5 mm from side to side and front to back, of 4 mm from head to foot."""
    zooms_mm = [4.0 if letter in "SI" else 1.5 for letter in codes]
    shape = [30 if letter in "SI" else 90 for letter in codes]
    affine = make_affine(codes, zooms_mm)
    measured = dimensions.measure(ellipsoid(affine, shape), affine)
    assert is_known_ellipsoid(measured, 1.5, 4.0)
    product_ml = LENGTH_MM * WIDTH_MM * THICKNESS_MM / 1000
    assert measured.splenic_index_ml == pytest.approx(product_ml, rel=0.06)


@pytest.mark.parametrize("degrees", [(20, 0), (0, 15), (25, -20)])
def test_an_oblique_grid_gives_the_size_in_the_patient(degrees):
    affine = turned((1.5, 1.5, 3.0), *degrees)
    mask = ellipsoid(affine, (100, 100, 60))
    assert is_known_ellipsoid(dimensions.measure(mask, affine), 2.2, 3.0)


def test_a_block_by_hand():
    """10 × 20 × 10 voxels of 2 × 3 × 5 mm: 20 mm wide, 60 mm deep, 50 mm high.

    The longest way between middles of pixel edges is 60 mm along and 18 mm across, since the last
    edges are centred 1 mm before the corners. At right angles to it, the block is 20 mm thick,
    times the secant of the slant.
    """
    mask = np.zeros((30, 40, 20), bool)
    mask[5:15, 10:30, 5:15] = True
    measured = dimensions.measure(mask, np.diag([2.0, 3.0, 5.0, 1.0]))
    diagonal_mm = math.hypot(60, 18)
    assert measured.length_mm == 50
    assert measured.width_mm == pytest.approx(diagonal_mm)
    assert measured.thickness_mm == pytest.approx(20 * diagonal_mm / 60, abs=0.1)


def test_the_thickness_of_a_bent_spleen_is_that_of_its_tissue():
    """Half a ring of radii 30 and 50 mm: 100 mm from tip to tip, 20 mm thick."""
    x, y, _ = grid(np.eye(4), (121, 121, 3))
    radius = np.hypot(x, y)
    mask = (radius >= 30) & (radius <= 50) & (y >= 0)
    measured = dimensions.measure(mask, np.eye(4))
    assert measured.width_mm == pytest.approx(101, abs=1)
    assert measured.thickness_mm == pytest.approx(20.5, abs=1)


def test_between_two_pieces_the_thickness_is_that_of_a_piece():
    mask = np.zeros((60, 20, 1), bool)
    mask[:10, 5:15] = mask[50:, 5:15] = True
    measured = dimensions.measure(mask, np.eye(4))
    assert measured.width_mm == pytest.approx(60, abs=1)
    assert measured.thickness_mm == pytest.approx(10, abs=1)


def test_one_voxel_is_as_large_as_it_is():
    measured = dimensions.measure(np.ones((1, 1, 1), bool), np.diag([2.0, 3.0, 5.0, 1.0]))
    assert (measured.length_mm, measured.width_mm) == (5, 3)
    assert measured.thickness_mm == pytest.approx(2, abs=0.1)


def test_the_widest_slice_counts_and_not_the_first():
    """Slices of 10, 30 and 20 voxels of 1 mm, in a row each."""
    mask = np.zeros((40, 1, 3), bool)
    for k, count in enumerate((10, 30, 20)):
        mask[:count, 0, k] = True
    assert dimensions.measure(mask, np.eye(4)).width_mm == 30


def test_an_empty_mask_has_no_size():
    with pytest.raises(ValueError, match="found an empty one"):
        dimensions.measure(np.zeros((3, 3, 3), bool), np.eye(4))


@pytest.fixture(scope="module")
def by_sitk(make_affine):
    """The ellipsoid, its affine (voxels of 1.5 × 1.5 × 4 mm), and SimpleITK's shape statistics."""
    affine = make_affine("LPS", (1.5, 1.5, 4.0))
    mask = ellipsoid(affine, (90, 90, 30))
    return mask, affine, shape_statistics(mask, (1.5, 1.5, 4.0))


def shape_statistics(mask, spacing_mm):
    image = sitk.GetImageFromArray(mask.T.astype(np.uint8))
    image.SetSpacing(spacing_mm)
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.ComputeFeretDiameterOn()
    statistics.Execute(image)
    return statistics


def test_the_length_is_that_of_simpleitk_s_bounding_box(by_sitk):
    mask, affine, statistics = by_sitk
    slices = statistics.GetBoundingBox(1)[5]
    assert dimensions.measure(mask, affine).length_mm == slices * 4.0


def test_the_diameters_are_those_of_simpleitk_s_ellipsoid_of_the_same_moments(by_sitk):
    """Within one slice, 4 mm."""
    mask, affine, statistics = by_sitk
    measured = dimensions.measure(mask, affine)
    ours = [measured.thickness_mm, measured.length_mm, measured.width_mm]
    assert ours == pytest.approx(statistics.GetEquivalentEllipsoidDiameter(1), abs=4)


def test_the_width_is_simpleitk_s_feret_diameter_between_edges_instead_of_centres(by_sitk):
    """Its diameters end in the centres of pixels: each end adds half a pixel, or its diagonal."""
    mask, affine, _ = by_sitk
    slices = planes.split(mask, affine, "axial")
    ferets = [
        shape_statistics(slice_hw, (1.5, 1.5)).GetFeretDiameter(1)
        for slice_hw in slices
        if slice_hw.any()
    ]
    width_mm = dimensions.measure(mask, affine).width_mm
    assert max(ferets) + 0.5 * 1.5 <= width_mm <= max(ferets) + math.sqrt(2) * 1.5


@pytest.mark.slow
def test_the_volume_that_radiologists_compute_from_the_index_is_near_that_of_the_voxels(real_data):
    """Prassopoulos et al. (1997): 30 mL + 0.58 × index. docs/quality.md quotes these figures."""
    ratios = []
    for folder in ("ct_btcv", "mr_t2"):
        for path in sorted((real_data / folder / "labelsTr").glob("*.nii.gz")):
            label = nifti.read(path)
            mask = label.array_ijk > 0
            volume_ml = np.count_nonzero(mask) * label.voxel_mm3 / 1000
            index_ml = dimensions.measure(mask, label.affine).splenic_index_ml
            ratios.append((30 + 0.58 * index_ml) / volume_ml)
    assert len(ratios) == 32
    shown = [f"{value:.2f}" for value in (min(ratios), np.median(ratios), max(ratios))]
    assert shown == ["0.69", "1.19", "1.73"]
