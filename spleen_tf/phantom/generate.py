"""Seeded synthetic abdomens with a labelled spleen, as CT or MR would show them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from spleen_tf.core.files import InputError
from spleen_tf.imaging.intensity import MODALITIES, Modality
from spleen_tf.imaging.volume import Volume
from spleen_tf.phantom import organs, scanner, shapes, trunk
from spleen_tf.phantom.patient import CELL_MM, Patient
from spleen_tf.phantom.scene import Materials, Scene
from spleen_tf.phantom.tissues import PROTOCOLS, draw_signals

# Below, a spleen is a handful of voxels.
MIN_SIZE = 32

# A volume is painted slab by slab, for the sake of the processor's cache.
_SLAB_VOXELS = 250_000


@dataclasses.dataclass(frozen=True)
class Phantom:
    """One synthetic case.

    Attributes:
        image: int16; HU for CT, arbitrary units for MR.
        label: uint8, 1 in the spleen, on the grid of the image.
        spleen_ml: the volume of the spleen as it was drawn, before it met the scan.
        protocol: the contrast phase or the sequence.
    """

    image: Volume
    label: Volume
    spleen_ml: float
    protocol: str


@dataclasses.dataclass(frozen=True)
class _Scan:
    """An axial acquisition.

    Attributes:
        shape, zooms_mm: (K, J, I): slices towards superior, rows towards anterior, columns
            towards right.
        affine: (4, 4), indices k, j, i to RAS+ mm.
        air_rows: rows of nothing but air that the scan has in front and behind, beyond `shape`.
    """

    shape: tuple[int, int, int]
    zooms_mm: NDArray[Any]
    affine: NDArray[Any]
    air_rows: int


def make(seed: int, modality: Modality, max_size: int = 256, protocol: str = "") -> Phantom:
    """One case, the same for the same arguments, whatever else is made.

    The trunk and its organs are drawn in an atlas frame, bent, posed, sampled on the grid of an
    axial scan with its slice thickness, and then blurred, shaded and disturbed as its modality
    does. The array is stored in any of the 48 orders of axes, and the scan is sometimes oblique.

    Args:
        seed: at least 0.
        modality: "CT" or "MR".
        max_size: the most voxels along an axis in plane. With 256 they measure 0.7 to 1.5 mm;
            with less the same patient is scanned more coarsely, and sooner.
        protocol: one of PROTOCOLS[modality]; empty: any of them.

    Returns:
        A Phantom whose spleen lies whole within the field of view.

    Raises:
        InputError: if an argument is out of its range.
    """
    _check(seed, modality, max_size, protocol)
    root = np.random.default_rng([seed, MODALITIES.index(modality)])
    patient_rng, scan_rng, scene_rng, noise_rng = root.spawn(4)
    patient = Patient(patient_rng)
    pose = _pose(scan_rng, patient)
    scan = _plan_scan(scan_rng, patient, pose, max_size)
    protocol, signals = draw_signals(scan_rng, modality, protocol)
    image, share = _sample(patient, scan, pose, signals, modality, scene_rng)
    image, share, scan = _with_air(image, share, scan, signals["gas"])
    measure = scanner.measure_ct if modality == "CT" else scanner.measure_mr
    image_ijk, label_ijk, affine = _store(
        measure(image, scan.zooms_mm, noise_rng), share > 0.5, scan, scan_rng
    )
    source = f"phantom {modality} {seed}"
    return Phantom(
        Volume(image_ijk, affine, source),
        Volume(label_ijk, affine, source),
        patient.spleen_ml,
        protocol,
    )


def _check(seed: int, modality: str, max_size: int, protocol: str) -> None:
    if modality not in MODALITIES:
        raise InputError(f"modality: expected one of {', '.join(MODALITIES)}, found {modality!r}.")
    if protocol not in ("", *PROTOCOLS[modality]):
        expected = ", ".join(PROTOCOLS[modality])
        raise InputError(
            f"protocol: expected one of {expected} for {modality}, found {protocol!r}."
        )
    for name, number, least in (("seed", seed, 0), ("max_size", max_size, MIN_SIZE)):
        if number < least:
            raise InputError(f"{name}: expected at least {least}, found {number}.")


def _pose(rng: np.random.Generator, patient: Patient) -> NDArray[Any]:
    """(4, 4): the world to the patient's frame. The patient lies a little askew."""
    turn = Rotation.from_euler("xyz", rng.normal(0, (1.5, 2.0, 3.0)), degrees=True).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3] = turn.T / patient.scale
    matrix[:3, 3] = -matrix[:3, :3] @ rng.normal(0, (8, 25, 60))
    return matrix


def _plan_scan(
    rng: np.random.Generator, patient: Patient, pose: NDArray[Any], max_size: int
) -> _Scan:
    """Draws spacing, field of view and tilt; grows the spleen first, which the scan must hold."""
    to_world = np.linalg.inv(pose)
    low, high = _grow_spleen(patient, to_world)
    tilt = rng.normal(0, 4.0, 3) if rng.random() < 0.3 else np.zeros(3)
    axes = Rotation.from_euler("xyz", tilt, degrees=True).as_matrix()
    # A tilted scan needs more height to hold the spleen, which lies 100 mm off its middle.
    margin_mm = np.sin(np.abs(np.radians(tilt))).max() * 100
    height_mm = high[2] - low[2] + 2 * margin_mm
    thickness_mm = max(rng.uniform(2.0, 8.0), (height_mm + 14) / 56)
    extent_mm = rng.uniform(height_mm + 20, max(height_mm + 60, 290 * patient.scale))
    num_slices = int(np.clip(np.ceil(extent_mm / thickness_mm), 24, 60))
    spare_mm = (num_slices - 3) * thickness_mm - height_mm
    bottom_mm = low[2] - margin_mm - 1.5 * thickness_mm - spare_mm * rng.uniform(0.35, 0.8)
    trunk_mm = 2 * (patient.half_width_mm + patient.wall_mm + 0.85 * patient.fat_mm) * patient.scale
    # Of the largest patients the field of view cuts the sides.
    width_mm = min(trunk_mm * rng.uniform(1.0, 1.18), 1.5 * 256)
    fewest, most = (int(np.ceil(width_mm / mm * max_size / 256)) for mm in (1.5, 0.7))
    columns = int(rng.integers(fewest, max(min(most, max_size), fewest) + 1))
    pixel_mm = width_mm / columns
    depth_mm = 1.04 * (2 * patient.half_depth_mm + 70 + 1.9 * patient.fat_mm) * patient.scale
    rows = min(int(np.ceil(depth_mm / pixel_mm)), max_size)
    air_rows = max(columns - rows, 0) // 2 if rng.random() < 0.6 else 0
    zooms_mm = np.round([thickness_mm, pixel_mm, pixel_mm], 3)
    shape = (num_slices, rows, columns)
    center_mm = (to_world @ (0, -6, 0, 1))[:3]
    center_mm[2] = bottom_mm + num_slices * thickness_mm / 2
    affine = np.eye(4)
    affine[:3, :3] = axes[:, ::-1] * zooms_mm
    affine[:3, 3] = center_mm - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return _Scan(shape, zooms_mm, affine, air_rows)


def _grow_spleen(patient: Patient, to_world: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Gives the spleen its volume; returns the corners of its box in the world, in mm."""
    left_side = ((-150, 5), (-105, 95), (-170, 125))
    spans = [np.arange(low, high, CELL_MM, dtype=np.float32) for low, high in left_side]
    x, y, z = np.meshgrid(*spans, indexing="ij", sparse=True)
    patient.grow_spleen(patient.bend((x, y, z)), (CELL_MM * patient.scale) ** 3 / 1000)
    corners = np.array(np.meshgrid(*np.transpose(patient.spleen_box_mm))).reshape(3, -1)
    world = to_world[:3, :3] @ corners + to_world[:3, 3:]
    margin = 10 * patient.scale
    return world.min(axis=1) - margin, world.max(axis=1) + margin


def _sample(
    patient: Patient,
    scan: _Scan,
    pose: NDArray[Any],
    signals: Mapping[str, float],
    modality: str,
    rng: np.random.Generator,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Paints planes through the slices, and averages them to the scan's thickness."""
    num_slices, rows, columns = scan.shape
    # Thick slices: a plane in the middle of each and one between neighbours, by the trapezoid rule.
    thick = scan.zooms_mm[0] >= 5
    num_planes = 2 * num_slices + 1 if thick else num_slices
    to_frame = pose @ scan.affine
    if thick:
        to_frame = to_frame @ np.diag([0.5, 1, 1, 1])
        to_frame[:3, 3] -= to_frame[:3, 0]
    edge_mm = scan.zooms_mm[1] / patient.scale
    zooms_mm = np.linalg.norm(to_frame[:3, :3], axis=0)
    texture = rng.uniform(3, 7) if modality == "CT" else rng.uniform(1.5, 4.5)
    shape = (num_planes, rows, columns)
    materials = Materials.draw(rng, signals, texture, shape, zooms_mm)
    seed = int(rng.integers(2**62))
    image, share = np.empty(shape, np.float32), np.empty(shape, np.float32)
    step = max(_SLAB_VOXELS // (rows * columns), 1)
    for first in range(0, num_planes, step):
        planes = slice(first, min(first + step, num_planes))
        moved = to_frame.copy()
        moved[:3, 3] += to_frame[:3, 0] * first
        slab = materials.slab(planes)
        canvas = shapes.Canvas(slab.grain.shape, moved, patient.bend, edge_mm)
        canvas.image += signals["gas"]
        scene = Scene(patient, canvas, slab)
        slab_rng = np.random.default_rng(seed)  # The same draws for every slab.
        trunk.paint(scene, slab_rng)
        organs.paint(scene, slab_rng)
        image[planes], share[planes] = canvas.image, scene.spleen
    if thick:
        image, share = (a[1::2] / 2 + (a[:-1:2] + a[2::2]) / 4 for a in (image, share))
    return image, share


def _with_air(
    image: NDArray[Any], share: NDArray[Any], scan: _Scan, air: float
) -> tuple[NDArray[Any], NDArray[Any], _Scan]:
    """Adds the rows of air: often a field of view is as deep as it is wide."""
    pad = ((0, 0), (scan.air_rows, scan.air_rows), (0, 0))
    image, share = np.pad(image, pad, constant_values=air), np.pad(share, pad)
    affine = scan.affine.copy()
    affine[:3, 3] -= scan.air_rows * affine[:3, 1]
    depth, rows, columns = image.shape
    return image, share, _Scan((depth, rows, columns), scan.zooms_mm, affine, 0)


def _store(
    image: NDArray[Any], mask: NDArray[Any], scan: _Scan, rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Both arrays in one of the 48 orders of axes, and the affine of that order."""
    order = np.stack([rng.permutation(3), rng.choice([-1, 1], 3)], axis=1)
    affine = scan.affine @ orientations.inv_ornt_aff(order, scan.shape)
    stored = [
        np.asfortranarray(orientations.apply_orientation(array, order))
        for array in (image, mask.astype(np.uint8))
    ]
    # What a NIfTI-1 header holds exactly.
    return stored[0], stored[1], affine.astype(np.float32).astype(np.float64)
