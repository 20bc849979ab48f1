"""Surfaces are closed, face outwards, and hold the volume of their mask; files are read back."""

import itertools
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spleen_tf.core.files import InputError
from spleen_tf.io import mesh, nifti
from spleen_tf.io.mesh import Mesh

ORIENTATIONS = [
    "".join(letters)
    for axes in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*axes)
]

TETRAHEDRON = Mesh(
    np.array([[0, 0, 0], [3, 0, 0], [0, 4, 0], [0, 0, 5]], np.float32),
    np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32),
)


def block(shape, *bounds):
    """A bool array with a filled box, given as (from, to) along each axis."""
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*bound) for bound in bounds)] = True
    return mask


def ball(radius_mm, zooms_mm):
    """A ball in the middle of an array that just holds it."""
    half = [int(radius_mm / zoom) + 1 for zoom in zooms_mm]
    grid = np.ogrid[tuple(slice(-n, n + 1) for n in half)]
    squares = [(axis * zoom) ** 2 for axis, zoom in zip(grid, zooms_mm, strict=True)]
    return sum(squares) <= radius_mm**2


def is_closed(faces):
    """Whether every edge belongs to two faces, which run along it in opposite directions."""
    edges = [edge for p, q, r in faces.tolist() for edge in ((p, q), (q, r), (r, p))]
    once_each = len(set(edges)) == len(edges)
    return once_each and {edge[::-1] for edge in edges} == set(edges)


def mean_bend_deg(surface):
    """The mean angle between neighbouring faces, in degrees."""
    a, b, c = (surface.vertices_ras_mm[surface.faces[:, n]].astype(float) for n in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    face_of = {}
    for number, (p, q, r) in enumerate(surface.faces.tolist()):
        face_of |= {(p, q): number, (q, r): number, (r, p): number}
    pairs = np.array([(n, face_of[q, p]) for (p, q), n in face_of.items()])
    cosines = (normals[pairs[:, 0]] * normals[pairs[:, 1]]).sum(axis=1)
    return np.degrees(np.arccos(np.clip(cosines, -1, 1))).mean()


def test_the_check_of_closedness_finds_a_hole_and_a_face_that_is_turned_round():
    faces = TETRAHEDRON.faces
    assert is_closed(faces)
    assert not is_closed(faces[1:])
    assert not is_closed(np.vstack([faces[:1, ::-1], faces[1:]]))


def test_a_tetrahedron_has_a_sixth_of_the_volume_of_its_box():
    assert mesh.volume_mm3(TETRAHEDRON) == pytest.approx(3 * 4 * 5 / 6)


def test_the_volume_is_negative_inside_out_and_does_not_depend_on_the_place():
    far = TETRAHEDRON.vertices_ras_mm + np.float32(1000)
    assert mesh.volume_mm3(Mesh(far, TETRAHEDRON.faces[:, ::-1])) == pytest.approx(-10)


def test_a_box_loses_the_wedges_along_its_edges_and_nothing_else():
    """Marching cubes by hand for 10 × 8 × 6 voxels, in voxels: cells between centres inside
    9·7·5 = 315; half cells on the faces 9·7 + 9·5 + 7·5 = 143; eighths of a cell along the edges
    4 (9 + 7 + 5) / 8 = 10.5; and a tetrahedron of 1/48 at each of 8 corners."""
    found = mesh.surface(block((14, 12, 9), (2, 12), (2, 10), (2, 8)), np.diag([0.5, 2, 3, 1]))
    expected_voxels = 315 + 143 + 10.5 + 8 / 48
    assert mesh.volume_mm3(found) == pytest.approx(3 * expected_voxels, rel=2e-4)
    assert is_closed(found.faces)


def test_a_surface_lies_half_way_between_voxel_centres_in_ras_mm(make_affine):
    # Stored LPS: i = 3…5 spans 2.5…5.5 voxels of 2 mm, so x = 100 − 2·5.5 … 100 − 2·2.5.
    affine = make_affine("LPS", (2.0, 3.0, 4.0), (100.0, 50.0, -30.0))
    found = mesh.surface(block((9, 9, 9), (3, 6), (1, 5), (2, 8)), affine)
    assert found.vertices_ras_mm.min(axis=0) == pytest.approx([89, 36.5, -24], abs=1e-3)
    assert found.vertices_ras_mm.max(axis=0) == pytest.approx([95, 48.5, 0], abs=1e-3)


def test_vertices_are_float32_and_faces_int32():
    found = mesh.surface(block((4, 4, 4), (1, 3), (1, 3), (1, 3)), np.eye(4), smooth=True)
    assert (found.vertices_ras_mm.dtype, found.faces.dtype) == (np.float32, np.int32)
    assert (found.vertices_ras_mm.shape[1], found.faces.shape[1]) == (3, 3)


@pytest.mark.parametrize("axcodes", ORIENTATIONS)
def test_faces_look_outwards_in_every_orientation_of_the_array(make_affine, axcodes):
    mask = block((6, 7, 8), (1, 5), (2, 6), (1, 7))
    found = mesh.surface(mask, make_affine(axcodes, (1.0, 2.0, 3.0)))
    # 3·3·5 + (3·3 + 3·5 + 3·5) + (3 + 3 + 5) / 2 + 1/6 voxels of 6 mm³.
    assert mesh.volume_mm3(found) == pytest.approx(6 * (45 + 39 + 5.5 + 1 / 6), rel=1e-3)


@pytest.mark.parametrize("handedness", [1, -1])
def test_faces_look_outwards_under_an_oblique_and_sheared_affine(handedness):
    affine = np.eye(4)
    affine[:3, :3] = [[0.8, 0.3, 0.1], [-0.3, 0.9, 0.4], [0.2, -0.5, 3.0 * handedness]]
    mask = ball(9, (1, 1, 1))
    found = mesh.surface(mask, affine)
    volume = mask.sum() * abs(np.linalg.det(affine[:3, :3]))
    assert mesh.volume_mm3(found) == pytest.approx(volume, rel=0.02)


def test_a_surface_is_closed_where_the_mask_fills_the_array():
    found = mesh.surface(np.ones((2, 3, 4), np.uint8), np.eye(4))
    assert is_closed(found.faces)
    assert found.vertices_ras_mm.min(axis=0) == pytest.approx([-0.5] * 3, abs=1e-3)
    assert found.vertices_ras_mm.max(axis=0) == pytest.approx([1.5, 2.5, 3.5], abs=1e-3)


@given(
    hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=5), elements=st.booleans())
)
def test_every_mask_has_a_closed_surface_also_where_voxels_touch_at_corners_only(mask):
    for smooth in (False, True):
        assert is_closed(mesh.surface(mask, np.eye(4), smooth).faces)


def test_four_voxels_that_touch_along_edges_have_a_closed_surface():
    """Two cells read the face that they share differently at a level of exactly 0.5."""
    mask = np.zeros((2, 2, 3), bool)
    for voxel in ((0, 0, 0), (0, 0, 2), (0, 1, 1), (1, 0, 1)):
        mask[voxel] = True
    assert is_closed(mesh.surface(mask, np.eye(4)).faces)


@pytest.mark.parametrize("zooms_mm", [(0.8, 0.8, 2.5), (1.25, 1.25, 7.7), (7.7, 1.5, 1.5)])
@pytest.mark.parametrize("smooth", [False, True])
def test_an_organ_keeps_the_volume_of_its_voxels_within_3_percent(zooms_mm, smooth):
    mask = ball(40, zooms_mm)  # 268 mL.
    found = mesh.surface(mask, np.diag([*zooms_mm, 1.0]), smooth)
    assert mesh.volume_mm3(found) == pytest.approx(mask.sum() * np.prod(zooms_mm), rel=0.03)
    assert is_closed(found.faces)


def test_real_spleens_keep_the_volume_of_their_voxels_within_3_percent(real_data):
    labels = sorted(real_data.glob("*/labelsTr/*.nii.gz"))
    assert labels
    for path in labels:
        label = nifti.read(path)
        voxels_mm3 = np.count_nonzero(label.array_ijk) * label.voxel_mm3
        for smooth in (False, True):
            found = mesh.surface(label.array_ijk, label.affine, smooth)
            assert mesh.volume_mm3(found) == pytest.approx(voxels_mm3, rel=0.03)
            assert is_closed(found.faces)


def test_smoothing_takes_steps_off_and_moves_nothing_beyond_the_neighbouring_slice():
    mask, affine = ball(40, (1.25, 1.25, 7.7)), np.diag([1.25, 1.25, 7.7, 1.0])
    stepped, smooth = mesh.surface(mask, affine), mesh.surface(mask, affine, smooth=True)
    np.testing.assert_array_equal(smooth.faces, stepped.faces)
    moved_mm = np.linalg.norm(smooth.vertices_ras_mm - stepped.vertices_ras_mm, axis=1)
    assert 0.5 < moved_mm.max() < 7.7
    # Vertices come closer to the sphere that the voxels stand for, and faces bend less.
    center_mm = np.array(mask.shape) // 2 * [1.25, 1.25, 7.7]
    stepped_off_mm, smooth_off_mm = (
        np.abs(np.linalg.norm(found.vertices_ras_mm - center_mm, axis=1) - 40).mean()
        for found in (stepped, smooth)
    )
    assert smooth_off_mm < 0.9 * stepped_off_mm
    fine = ball(20, (1, 1, 1))
    bends = [mean_bend_deg(mesh.surface(fine, np.eye(4), smooth)) for smooth in (False, True)]
    assert bends[1] < 0.5 * bends[0]


def test_an_empty_mask_has_an_empty_surface_of_no_volume():
    found = mesh.surface(np.zeros((4, 4, 4), np.uint8), np.eye(4), smooth=True)
    assert (found.vertices_ras_mm.shape, found.faces.shape) == ((0, 3), (0, 3))
    assert mesh.volume_mm3(found) == 0.0


def read_stl(content):
    """Normals (F, 3) and corners (F, 3, 3) by the format's description, face by face."""
    (count,) = struct.unpack_from("<I", content, 80)
    assert len(content) == 84 + 50 * count
    assert not content.startswith(b"solid")
    faces = [struct.unpack_from("<12fH", content, 84 + 50 * n) for n in range(count)]
    numbers = np.array([face[:12] for face in faces]).reshape(count, 4, 3)
    return numbers[:, 0], numbers[:, 1:]


def read_obj(content):
    """Vertices and faces, counted from 0."""
    lines = [line.split() for line in content.decode("ascii").splitlines()]
    vertices = [[float(n) for n in line[1:]] for line in lines if line[0] == "v"]
    faces = [[int(n) - 1 for n in line[1:]] for line in lines if line[0] == "f"]
    return np.array(vertices), np.array(faces)


def read_ply(content):
    """Vertices and faces of the layout that the header declares."""
    head, body = content.split(b"end_header\n", 1)
    lines = head.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    counts = [int(line.split()[2]) for line in lines if line.startswith("element")]
    assert [line for line in lines if line.startswith("property")] == [
        *("property float x", "property float y", "property float z"),
        "property list uchar int vertex_indices",
    ]
    assert len(body) == 12 * counts[0] + 13 * counts[1]
    vertices = [struct.unpack_from("<3f", body, 12 * n) for n in range(counts[0])]
    faces = [struct.unpack_from("<B3i", body, 12 * counts[0] + 13 * n) for n in range(counts[1])]
    assert {face[0] for face in faces} == {3}
    return np.array(vertices), np.array([face[1:] for face in faces])


def test_stl_holds_the_corners_of_every_face_and_unit_normals(tmp_path):
    mesh.write(tmp_path / "a.stl", TETRAHEDRON)
    normals, corners = read_stl((tmp_path / "a.stl").read_bytes())
    np.testing.assert_array_equal(corners, TETRAHEDRON.vertices_ras_mm[TETRAHEDRON.faces])
    # The coordinate planes look away from the body; the slanted face cuts the axes at 3, 4 and 5.
    slanted = np.array([1 / 3, 1 / 4, 1 / 5]) / np.linalg.norm([1 / 3, 1 / 4, 1 / 5])
    expected = [[0, 0, -1], [0, -1, 0], [-1, 0, 0], slanted]
    np.testing.assert_allclose(normals, expected, atol=1e-6)


@pytest.mark.parametrize(("suffix", "read"), [(".obj", read_obj), (".ply", read_ply)])
def test_obj_and_ply_are_read_back_to_the_last_bit(tmp_path, suffix, read):
    found = mesh.surface(ball(4, (1, 1, 1)), np.diag([0.7, 1.1, 3.3, 1.0]), smooth=True)
    mesh.write(tmp_path / f"a{suffix}", found)
    vertices, faces = read((tmp_path / f"a{suffix}").read_bytes())
    np.testing.assert_array_equal(vertices.astype(np.float32), found.vertices_ras_mm)
    np.testing.assert_array_equal(faces, found.faces)


def test_a_header_names_the_axes_and_neither_date_nor_program(tmp_path):
    for suffix in mesh.SUFFIXES:
        mesh.write(tmp_path / f"doe_jane{suffix}", TETRAHEDRON)
    assert (tmp_path / "doe_jane.stl").read_bytes()[:80].rstrip() == b"SPACE=RAS mm"
    obj = (tmp_path / "doe_jane.obj").read_text().splitlines()
    assert [line for line in obj if line[0] not in "vf"] == ["# SPACE=RAS", "# millimetres"]
    ply = (tmp_path / "doe_jane.ply").read_bytes().split(b"end_header")[0].decode().splitlines()
    comments = [line for line in ply if line.startswith(("comment", "obj_info"))]
    assert comments == ["comment SPACE=RAS", "comment millimetres"]


@pytest.mark.parametrize("suffix", mesh.SUFFIXES)
def test_a_disk_that_fills_up_leaves_the_earlier_file(tmp_path, no_room, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_text("earlier")
    with no_room(), pytest.raises(InputError, match=f"a{suffix}: expected a place to write to"):
        mesh.write(path, TETRAHEDRON)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "earlier"


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a.vtk: .* ends in .stl or .obj or .ply, found .vtk"):
        mesh.write(tmp_path / "a.vtk", TETRAHEDRON)


def test_an_empty_surface_is_refused(tmp_path):
    nothing = mesh.surface(np.zeros((3, 3, 3)), np.eye(4))
    with pytest.raises(InputError, match=r"a.stl: expected a surface to write, found an empty one"):
        mesh.write(tmp_path / "a.stl", nothing)
    assert not (tmp_path / "a.stl").exists()
