"""Paints the organs of the abdomen, those first that give way to others; the spleen comes last."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spleen_tf.phantom import shapes
from spleen_tf.phantom.scene import Scene
from spleen_tf.phantom.shapes import Waves, smooth_max, smooth_min


def paint(scene: Scene, rng: np.random.Generator) -> None:
    """Paints bowel, stomach, liver, kidneys, pancreas and spleen with their vessels.

    Args:
        scene: one with its trunk. What is drawn from `rng` does not depend on it.
        rng: for what varies beyond the patient's own measures.
    """
    _paint_small_bowel(scene, rng)
    _paint_colon(scene, rng)
    _paint_stomach(scene, rng)
    _paint_liver(scene, rng)
    _paint_biliary(scene, rng)
    for side in (-1, 1):
        _paint_kidney(scene, rng, side)
    _paint_pancreas(scene, rng)
    _paint_vessels(scene, rng)
    _paint_spleen(scene, rng)


def _paint_small_bowel(scene: Scene, rng: np.random.Generator) -> None:
    signals, paint = scene.signals, scene.canvas.paint
    box = scene.box((-95, 95), (-30, 110), (-400, 25))
    region = shapes.ellipsoid(scene.canvas.at(box), (0, 34, -95), (82, 48, 112))
    region = np.maximum(region, scene.room[box] + 4)
    loop = np.maximum((scene.loops[box] - rng.uniform(0.75, 1.05)) * 16, region)
    paint(loop, scene.value("gut wall", box), box)
    chyme = signals["gut wall"] + rng.uniform(0.1, 0.9) * (signals["fluid"] - signals["gut wall"])
    paint(loop + rng.uniform(2.2, 4.5), chyme + scene.texture * scene.mottle[box], box)
    paint(np.maximum(loop + 4, 12 * (1.1 - scene.mottle[box])), signals["gas"], box)


def _paint_colon(scene: Scene, rng: np.random.Generator) -> None:
    flexure = rng.uniform(-5, 42)  # Height of the left flexure, at the tip of the spleen or above.
    knots = [
        *((-96, -22, -260, 14), (-98, -20, -130, 15), (-100, -14, -62, 16)),
        *((-100, 8, -22, 17), (-92, 38, flexure, 19), (-58, 66, flexure - 28, 19)),
        *((-8, 74, -48, 19), (40, 70, -50, 19), (76, 48, -40, 19), (94, 16, -62, 20)),
        *((94, 0, -120, 24), (92, -5, -260, 26)),
    ]
    path = shapes.curve(np.array(knots) + rng.normal(0, [5, 5, 7, 1.5], (12, 4)), 3)
    haustra = Waves(rng, 24)
    for part in (path[:14], path[13:26], path[25:]):
        stool = rng.uniform(-0.6, 0.9)
        box = scene.canvas.box(part[:, :3].min(axis=0) - 28, part[:, :3].max(axis=0) + 28)
        p = scene.canvas.at(box)
        tube = shapes.tube(p, part, 2) + 3.5 * haustra(p)
        tube = smooth_max(tube, scene.room[box] + 2, 3)
        scene.canvas.paint(tube, scene.value("gut wall", box), box)
        scene.canvas.paint(tube + 2.5, scene.value("stool", box, grain=3.0, mottle=3.0), box)
        gas = np.maximum(tube + 2.5, 7 * (scene.mottle[box] - stool))
        scene.canvas.paint(gas, scene.signals["gas"], box)


def _paint_stomach(scene: Scene, rng: np.random.Generator) -> None:
    signals, paint = scene.signals, scene.canvas.paint
    box = scene.box((-125, 70), (-75, 95), (-70, 135))
    p = scene.canvas.at(box)
    scene.stomach[box] = outside = scene.patient.stomach(p, scene.room[box])
    paint(outside, scene.value("gut wall", box), box)
    folds = 1.6 * Waves(rng, 13)(p)
    lumen = outside + rng.uniform(3.5, 6) + folds
    chyme = signals["fluid"] + rng.uniform(0, 0.7) * (signals["gut wall"] - signals["fluid"])
    lumps = 2.5 * scene.texture * (scene.mottle[box] + scene.grain[box]) * (rng.random() < 0.5)
    paint(lumen, chyme + lumps, box)
    # The patient lies on the back: gas rises to the front.
    paint(np.maximum(lumen, rng.uniform(5, 50) - p[1]), signals["gas"], box)


def _paint_liver(scene: Scene, rng: np.random.Generator) -> None:
    patient, signals = scene.patient, scene.signals
    box = scene.box((-125, 145), (-100, 115), (-125, 140))
    p = scene.canvas.at(box)
    x, y, z = p
    lobe_mm, slope = patient.left_lobe_mm, 0.30 - 0.006 * patient.liver_tip_mm
    right = shapes.ellipsoid(p, (64, 0, 40), (96, 92, 100))
    left = shapes.ellipsoid(p, (30 - lobe_mm / 2, 46, 62), (45 + lobe_mm / 2, 44, 36))
    below = patient.liver_tip_mm + (112 - x) * slope - 0.2 * y - z + 4 * patient.ripple(p)
    liver = smooth_max(smooth_min(right, left, 14), 0.72 * below, 8)
    liver = smooth_max(liver, scene.room[box] + 0.3, 4)
    liver = smooth_max(liver, 1.0 - scene.stomach[box], 4)
    liver = smooth_max(liver, 1.5 - patient.kidney(p, 1), 4)
    liver = smooth_max(liver, 4 - shapes.oval(x, y + 46, 36, 36), 5)
    turn, size = rng.uniform(-0.4, 0.4), rng.uniform(8, 30)
    axes = np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    fissure_z = patient.liver_tip_mm + 104 * slope + 8
    fissure = shapes.ellipsoid(p, (8, 56, fissure_z), (2.5, size, size), axes)
    liver = smooth_max(liver, 1 - fissure, 4)
    scene.canvas.paint(liver, scene.value("liver", box), box)
    branches = np.maximum((scene.vessels[box] - 0.17) * 11, liver + 4)
    scene.canvas.paint(branches, signals["vein"], box)
    for _ in range(rng.integers(1, 6) if rng.random() < 0.35 else 0):  # Cysts and metastases.
        place, size = rng.uniform((20, -50, -20), (110, 50, 90)), rng.uniform(3, 16)
        lesion = shapes.ellipsoid(p, place, size * rng.uniform(0.8, 1.2, 3))
        tissue = "fluid" if rng.random() < 0.5 else "muscle"
        scene.canvas.paint(np.maximum(lesion, liver + 1), signals[tissue], box)


def _paint_biliary(scene: Scene, rng: np.random.Generator) -> None:
    """Large veins of the liver, and the gallbladder below it."""
    cava, gate = (22, -4, 74), (44, 10, 34)
    for root, tips in (
        (cava, ((98, -30, 50), (66, 38, 44), (2, 44, 58))),
        (gate, ((108, 20, 10), (96, -40, 14), (84, 46, 4), (18, 46, 48))),
    ):
        for tip in tips:
            end = np.array(tip) + rng.normal(0, 7, 3)
            middle = (end + root) / 2 + rng.normal(0, 7, 3)
            scene.paint_path("vein", [(*root, 5), (*middle, 3.6), (*end, 1.6)])
    size, present = rng.uniform(0.6, 1.15), rng.random() < 0.85
    if present:
        box = scene.box((30, 70), (26, 66), (-48, 20))
        gallbladder = shapes.ellipsoid(
            scene.canvas.at(box), (50, 46, -14), np.array((13, 14, 27)) * size
        )
        scene.canvas.paint(gallbladder, scene.signals["gut wall"], box)
        scene.canvas.paint(gallbladder + 1.6, scene.signals["bile"], box)


def _paint_kidney(scene: Scene, rng: np.random.Generator, side: int) -> None:
    center, radii, axes = scene.patient.kidneys[side]
    signals, paint = scene.signals, scene.canvas.paint
    box = scene.canvas.box(center - 64, center + 64)
    p = scene.canvas.at(box)
    kidney = scene.patient.kidney(p, side)
    paint(kidney, scene.value("cortex", box), box)
    pyramids = np.maximum(kidney + 7, 5 * (Waves(rng, 19)(p) - 0.35))
    paint(pyramids, scene.value("medulla", box), box)
    inward = -side * axes[0] * radii[0]
    sinus = shapes.ellipsoid(p, center + 0.75 * inward, radii * (0.85, 0.4, 0.5), axes)
    paint(np.maximum(sinus, kidney - 1), scene.value("fat", box), box)
    calices = np.maximum(sinus + 2, 6 * (Waves(rng, 16)(p) - 0.3))
    paint(np.maximum(calices, kidney + 3), signals["urine"], box)
    end = center + 0.5 * inward
    for tissue, start, width, up in (("artery", -9, 2.8, 4), ("cava", 20, 5, -3)):
        middle = ((start + end[0]) / 2, end[1] + 12, end[2] + up)
        knots = [(start, -14, end[2] + 10), middle, tuple(end)]
        scene.paint_path(tissue, [(*knot, width) for knot in knots])
    if rng.random() < 0.25:
        place = center + axes.T @ (radii * rng.uniform(-0.8, 0.8, 3))
        cyst = shapes.ellipsoid(p, place, np.full(3, rng.uniform(5, 17)))
        paint(cyst, signals["fluid"], box)


def _paint_pancreas(scene: Scene, rng: np.random.Generator) -> None:
    tail = scene.patient.towards_hilum(0.78) + rng.normal(0, 3, 3)
    knots = [(30, 16, -34, 13), (24, 22, -12, 12), (2, 30, 2, 9), (-24, 20, 8, 10)]
    path = shapes.curve([*knots, (*tail, rng.uniform(7, 11))], 3)
    box = scene.canvas.box(path[:, :3].min(axis=0) - 18, path[:, :3].max(axis=0) + 18)
    p = scene.canvas.at(box)
    lobules = 2.2 * Waves(rng, 11)(p)
    pancreas = smooth_max(shapes.tube(p, path) + lobules, 1 - scene.stomach[box], 3)
    scene.canvas.paint(pancreas, scene.value("pancreas", box, grain=1.6), box)


def _paint_vessels(scene: Scene, rng: np.random.Generator) -> None:
    """The splenic and portal veins, the splenic and upper mesenteric arteries."""

    def on_the_way(share: float, spread_mm: float) -> NDArray[Any]:
        point_mm: NDArray[Any] = scene.patient.towards_hilum(share) + rng.normal(0, spread_mm, 3)
        return point_mm

    hilum = scene.patient.hilum_mm
    vein: list[Any] = [(10, 18, -4), (-6, 16, 0), (-24, 12, 4), on_the_way(0.6, 3), hilum]
    scene.paint_path("vein", [(*knot, rng.uniform(4, 5.5)) for knot in vein])
    portal = [(10, 20, -50, 5), (10, 18, -4, 6.5), (24, 14, 16, 7), (44, 10, 34, 5.5)]
    scene.paint_path("vein", [*portal, (60, 8, 48, 4)])
    windings = [on_the_way(share, 6) for share in (0.2, 0.4, 0.65, 0.8)]
    artery: list[Any] = [(-9, -4, 14), (-8, 8, 18), *windings, hilum]
    scene.paint_path("artery", [(*knot, 2.8) for knot in artery], 5)
    scene.paint_path("artery", [(-9, -2, 4, 3.5), (-6, 12, -12, 3.5), (-2, 18, -60, 3.2)])
    for _ in range(4):
        knots = [on_the_way(0.7, 0), on_the_way(0.82, 5), on_the_way(0.95, 14)]
        scene.paint_path("vein", [(*knot, rng.uniform(1.8, 3)) for knot in knots])


def _paint_spleen(scene: Scene, rng: np.random.Generator) -> None:
    low, high = scene.patient.spleen_box_mm
    box = scene.canvas.box(low - 6, high + 6)
    p = scene.canvas.at(box)
    spleen = scene.patient.spleen(p, scene.room[box], scene.stomach[box])
    mottle = scene.signals["spleen mottle"] * Waves(rng, 26)(p)
    scene.spleen[box] = scene.canvas.paint(spleen, scene.value("spleen", box) + mottle, box)
    branches = np.maximum((scene.vessels[box] - 0.13) * 13, spleen + 4)
    scene.canvas.paint(branches, scene.signals["vein"], box)
    if rng.random() < 0.12:  # A cyst counts as spleen.
        cyst = shapes.ellipsoid(p, rng.uniform(low, high), np.full(3, rng.uniform(4, 12)))
        scene.canvas.paint(np.maximum(cyst, spleen + 2), scene.signals["fluid"], box)
