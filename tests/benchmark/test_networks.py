"""Networks alone, their operations, and the inputs, on tiny volumes."""

import numpy as np
import pytest

from spleen_tf.benchmark import networks
from spleen_tf.benchmark.inputs import Inputs, resized
from spleen_tf.benchmark.measure import Skipped
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference.engine import Engine
from spleen_tf.io import nifti
from spleen_tf.network.spec import NetworkSpec


def test_operations_are_two_per_product():
    # Level 0, 4×4 pixels: 3×3 from 1 to 2 and 2 to 2, then from 4 to 2 and 2 to 2; the logits.
    level_0 = 16 * (9 * (1 * 2 + 2 * 2) + 9 * (4 * 2 + 2 * 2) + 2)
    # Level 1, 2×2 pixels: from 2 to 4 and 4 to 4. Its upsampling gives 4×4 pixels of 2 from 4.
    level_1 = 4 * 9 * (2 * 4 + 4 * 4) + 16 * 4 * 2
    network = NetworkSpec(in_channels=1, base_filters=2, depth=1)
    assert networks.flop_per_image(network, 4, 4) == 2 * (level_0 + level_1)


def test_networks_see_all_slices_on_their_grid_and_run(exported, tmp_path, make_affine):
    # Coronal slices of 5 (superior) × 8 (left): 4 × 1.5 mm in pixels of 2 mm.
    image = Volume(np.zeros((8, 6, 5), np.int16), make_affine("RAS", (1.5, 3.0, 4.0)), "a")
    nifti.write(tmp_path / "a.nii.gz", image)
    seen = networks.seen_by(exported["CT"], tmp_path / "a.nii.gz")
    assert [slices.shape_nhw for slices in seen] == [(6, 10, 6)]
    networks.run(networks.started(seen, Engine("onnx", "cpu")), seen)
    with pytest.raises(Skipped, match=r"no train\.flags beside by_hand_CT"):
        _ = seen[0].flop


def test_a_recipe_beside_the_model_gives_the_operations(tmp_path):
    (tmp_path / "train.flags").write_text("--base_filters=2\n--depth=1\n--steps=1\n")
    seen = networks.Slices(tmp_path / "saved_model", (3, 3, 4), (1.0, 1.0))
    # 3 rows are padded to 4.
    assert seen.flop == 3 * networks.flop_per_image(NetworkSpec(1, 2, depth=1), 4, 4)


def test_a_resized_volume_covers_the_same_body(make_affine):
    array_ijk = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    volume = Volume(array_ijk, make_affine("LPS", (2.0, 3.0, 4.0)), "a")
    larger = resized(volume, (4, 3, 2))
    assert larger.orientation == "RAS"
    np.testing.assert_allclose(larger.zooms_mm, [1.0, 3.0, 8.0])
    # From left to right, back to front: the first voxel along each of i and j is now the last.
    np.testing.assert_array_equal(larger.array_ijk, array_ijk[::-1, ::-1][[0, 0, 1, 1]][:, :, ::2])


def test_phantoms_stand_in_for_real_volumes_and_are_kept(tmp_path):
    inputs = Inputs(tmp_path / "kept", tmp_path / "none", shrink=16)
    assert nifti.read_geometry(inputs.ct).shape == (32, 32, 8)
    assert nifti.read_geometry(inputs.long_ct).shape == (32, 32, 62)
    kept = inputs.ct.stat().st_mtime_ns
    assert Inputs(tmp_path / "kept", tmp_path / "none", shrink=16).ct.stat().st_mtime_ns == kept


def test_a_real_volume_of_that_size_is_preferred(tmp_path, make_affine):
    folder = tmp_path / "real" / "ct" / "imagesTr"
    folder.mkdir(parents=True)
    for name, shape in (("a", (4, 4, 4)), ("b", (32, 32, 8))):
        image = Volume(np.zeros(shape, np.int16), make_affine("RAS"), name)
        nifti.write(folder / f"{name}.nii.gz", image)
    inputs = Inputs(tmp_path / "kept", tmp_path / "real", shrink=16)
    assert inputs.ct == folder / "b.nii.gz"
