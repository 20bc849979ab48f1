"""Paints the trunk of a synthetic patient: wall, chest, skeleton, and what lies along the spine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spleen_tf.phantom import shapes
from spleen_tf.phantom.scene import Scene
from spleen_tf.phantom.shapes import Box, smooth_min

_VERTEBRA_MM = 34
_RIB_MM = 27


def paint(scene: Scene, rng: np.random.Generator) -> None:
    """Paints everything that is not a digestive or urinary organ.

    Args:
        scene: an empty one. What is drawn from `rng` does not depend on it, so that the slabs of
            one volume can be painted one by one, each with an equal generator.
        rng: for what varies beyond the patient's own measures.
    """
    _paint_wall(scene)
    _paint_chest(scene, rng)
    _paint_spine(scene)
    _paint_ribs(scene)
    _paint_along_the_spine(scene, rng)


def _paint_wall(scene: Scene) -> None:
    canvas, patient, signals = scene.canvas, scene.patient, scene.signals
    x, y, _ = canvas.points
    ripple = patient.ripple(canvas.points)
    forward = np.clip((y - 5) / (np.abs(x) + np.abs(y - 5) + 1), -1, 1)
    # Thicker in front and at the flanks' back; a groove along the spine.
    fat = patient.fat_mm * (0.8 + 0.35 * forward + 0.45 * np.clip(-forward, 0, 1))
    fat = fat * (1 - 0.6 * np.exp(-((x / 18) ** 2)) * (forward < 0)) + 2.5
    muscle = patient.wall_mm * (0.8 + 1.5 * np.clip(-forward - 0.25, 0, 0.5))
    muscle = muscle * (1 - 0.35 * np.clip(forward, 0, 1))
    skin = scene.wall - muscle - fat
    muscle = muscle + 1.5 * ripple
    canvas.paint(skin, signals["skin"])
    canvas.paint(skin + 1.8, scene.value("fat", grain=0.4))
    canvas.paint(scene.wall - muscle, scene.value("muscle"))
    for share in (0.38, 0.7):  # Fat between the layers of muscle, broken here and there.
        sheet = np.abs(scene.wall - muscle * share + 1.2 * scene.mottle) + 0.8 * ripple - 0.3
        canvas.paint(sheet, signals["fat"])
    linea_alba = shapes.oval(x, y - 13 - patient.half_depth_mm, 3, 20)
    canvas.paint(np.maximum(linea_alba, scene.wall - muscle), signals["fat"])
    canvas.paint(scene.wall, scene.value("fat", grain=0.6, mottle=0.8))
    # Vessels of the mesentery and the omentum.
    canvas.paint(np.maximum((scene.vessels - 0.1) * 12, scene.room + 4), signals["vein"])
    diaphragm = np.maximum(np.abs(scene.dome + 1.2) - 1.2, scene.wall)
    canvas.paint(diaphragm, signals["muscle"])


def _paint_chest(scene: Scene, rng: np.random.Generator) -> None:
    canvas, signals = scene.canvas, scene.signals
    x, y, _ = canvas.points
    mediastinum = shapes.oval(x + 6, y - 18, 36, 70)
    lung = np.maximum(np.maximum(scene.wall + 2.5, 0.5 - scene.dome), -mediastinum)
    pattern = 0.5 * scene.texture * (scene.grain + 2 * scene.mottle)
    canvas.paint(lung, signals["lung"] + pattern)
    branches = np.maximum((scene.vessels - 0.22) * 14, lung)
    canvas.paint(branches, 0.75 * signals["vein"] + 0.25 * signals["lung"])
    if rng.random() < 0.12:  # An effusion gathers at the back, above the spleen.
        canvas.paint(np.maximum(lung, y + rng.uniform(35, 60)), signals["fluid"])
    heart = shapes.ellipsoid(canvas.points, (-24, 40, 152), (60, 46, 50))
    heart = np.maximum(heart, 1.5 - scene.dome)
    canvas.paint(heart, scene.value("heart"))
    canvas.paint(np.abs(heart + 3) - 3, scene.value("muscle"))


def _paint_spine(scene: Scene) -> None:
    box = scene.box((-70, 70), (-135, -10), (-400, 400))
    x, y, z = scene.canvas.at(box)
    center_x, center_y = scene.patient.spine_line(z)
    u, v = x - center_x, y - center_y
    phase = ((z + scene.patient.vertebra_offset_mm) / _VERTEBRA_MM) % 1
    signals, paint = scene.signals, scene.canvas.paint
    _paint_back_muscles(scene, box, u, v)
    from_middle = np.abs(phase - 0.5) * _VERTEBRA_MM  # 17 mm in the middle of a disc.
    waist = 22 + 0.012 * (from_middle - 6) ** 2
    column = (np.hypot(u / waist, v / (waist * 0.76)) - 1) * 17
    paint(np.maximum(column, 10 - from_middle), scene.value("disc", box), box)
    vertebra = np.maximum(column, from_middle - 13.5)
    bone = smooth_min(vertebra, _vertebral_arch(u, v, phase), 2)
    paint(bone, signals["bone"], box)
    paint(bone + 2.0, scene.value("marrow", box, grain=2.0), box)
    paint(shapes.oval(u, v + 26, 11, 8.5), signals["csf"], box)
    paint(shapes.oval(u, v + 26, 5.5, 4), signals["cord"], box)


def _paint_back_muscles(scene: Scene, box: Box, u: NDArray[Any], v: NDArray[Any]) -> None:
    for side in (-1, 1):
        erector = shapes.oval(u - side * 31, v + 46, 25, 17)
        scene.canvas.paint(np.abs(erector) - 1.0, scene.signals["fat"], box)
        scene.canvas.paint(erector + 1, scene.value("muscle", box), box)
        septum = np.abs(u - side * 27 - 0.25 * v + 2 * scene.mottle[box]) - 0.5
        septum = np.maximum(septum + 0.5 * scene.grain[box], erector)
        scene.canvas.paint(septum, scene.signals["fat"], box)


def _vertebral_arch(u: NDArray[Any], v: NDArray[Any], phase: NDArray[Any]) -> NDArray[Any]:
    """Distance to the ring around the canal with its spinous and transverse processes."""
    ring = shapes.oval(u, v + 26, 19, 15)
    spinous = np.maximum(np.abs(u) - 3.5 - 0.04 * np.abs(v), np.abs(v + 50) - 16)
    spinous = np.maximum(spinous, np.abs(phase - 0.42) * _VERTEBRA_MM - 11)
    transverse = np.maximum(np.abs(v + 24) - 4.5, np.abs(u) - 40)
    transverse = np.maximum(transverse, np.abs(phase - 0.55) * _VERTEBRA_MM - 6)
    arch = smooth_min(smooth_min(ring, spinous, 3), transverse, 3)
    return np.maximum(arch, np.abs(phase - 0.5) * _VERTEBRA_MM - 15.5)


def _paint_ribs(scene: Scene) -> None:
    """Ribs descend from the spine around the trunk to their cartilage; the last are short."""
    box = scene.box((-200, 200), (-160, 160), (-75, 400))
    x, y, z = scene.canvas.at(box)
    around = np.arctan2(np.abs(x), 5 - y)  # 0 behind, pi in front.
    height = (z + 45 * around - scene.patient.rib_offset_mm + 10) / _RIB_MM
    number = np.maximum(np.rint(height), 0)
    across = np.hypot((scene.wall[box] - 5.5) / 4.2, (height - number) * _RIB_MM / 7) * 4.2 - 4.2
    end = np.minimum(0.75 + 0.4 * number, 2.2)
    # Angles are turned into mm at the wall, about 90 mm from the middle.
    rib = np.maximum(np.maximum(across, (around - end) * 90), (0.28 - around) * 90)
    cartilage = np.maximum(np.maximum(across, (around - end - 0.5) * 90), (end - around) * 90)
    scene.canvas.paint(cartilage, scene.signals["cartilage"], box)
    scene.canvas.paint(rib, scene.signals["bone"], box)
    scene.canvas.paint(rib + 2.0, scene.value("marrow", box), box)


def _paint_along_the_spine(scene: Scene, rng: np.random.Generator) -> None:
    """Psoas and quadratus lumborum, crura, aorta, vena cava, oesophagus."""
    for side in (-1, 1):
        psoas = [(22, -42, 22, 4), (30, -40, -30, 13), (40, -34, -110, 21), (46, -26, -260, 22)]
        quadratus = [(50, -72, 15, 6), (58, -72, -60, 12), (66, -68, -240, 13)]
        crus = [(9, -22, -45, 4), (12, -20, 10, 5.5), (20, -28, 55, 4.5), (34, -38, 78, 3)]
        for knots in (psoas, quadratus, crus):
            scene.paint_path("muscle", [(side * a, b, c, r) for a, b, c, r in knots], 3)
    width = rng.uniform(8, 12)
    z = np.linspace(-260, 260, 12)
    x, y = scene.patient.spine_line(z)
    aorta = np.stack([x - 9, y + 18 + width, z, np.full(12, width)], axis=1)
    scene.paint_path("artery", aorta, 2)
    cava = [(20, -12, -260), (20, -10, -60), (22, -6, 20), (24, -2, 70), (20, 12, 110)]
    scene.paint_path("cava", [(*knot, rng.uniform(9, 12)) for knot in cava])
    oesophagus = [(-6, -14, 250, 8), (-8, -8, 110, 8), (-18, 0, 84, 9), (-34, -2, 70, 11)]
    scene.paint_path("gut wall", oesophagus)
