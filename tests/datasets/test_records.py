"""Slices to tf.train.Example and back, the shards of a conversion, and what is refused of both."""

import itertools
import struct

import numpy as np
import pytest
import tensorflow as tf

from spleen_tf.core.files import InputError
from spleen_tf.datasets import records, schema
from spleen_tf.datasets.records import Identity
from spleen_tf.datasets.schema import FIELDS, RecordError
from spleen_tf.imaging import intensity, planes
from spleen_tf.imaging.planes import PLANES
from spleen_tf.imaging.volume import Volume, VolumeError
from spleen_tf.io import nifti

ABOUT = {"case": "case_1", "modality": "MR", "source_sha256": "5a", "label_sha256": "1b"}
AXCODES = [
    "".join(letters)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*order)
]


def box(shape=(8, 6, 5)):
    """1 in i from 2 to 4, j from 1 to 3, k from 1 to 2."""
    label_ijk = np.zeros(shape, np.uint8)
    label_ijk[2:5, 1:4, 1:3] = 1
    return label_ijk


def encoded(image, plane="coronal", label_ijk=None, **about):
    label = Volume(box(image.shape) if label_ijk is None else label_ijk, image.affine, "label")
    percentiles = tuple(intensity.percentiles(image.array_ijk).tolist())
    identity = Identity(**{**ABOUT, "intensity_percentiles": percentiles, **about})
    return list(records.encode(image, label, plane, identity))


def fields_of(serialized):
    """Each field's values, as any reader of tf.train.Example sees them."""
    features = tf.train.Example.FromString(serialized).features.feature
    return {
        name: list(getattr(feature, feature.WhichOneof("kind")).value)
        for name, feature in features.items()
    }


def write(path, serialized):
    with records.writer(path) as writer:
        for one in serialized:
            writer.write(one)
    return path


# Examples.


def test_every_field_of_a_coronal_slice_of_an_oblique_volume(tiny_nifti):
    # Stored LAS: i from the patient's right to left, j to anterior, k to superior.
    image = nifti.read(tiny_nifti)
    examples = encoded(image)
    assert len(examples) == 6
    fields = fields_of(examples[4])
    assert sorted(fields) == sorted(FIELDS)
    # Voxel (i, j, k) holds 100 i + 10 j + k. Row 0 is superior, k = 4; column 0 is right, i = 0.
    assert np.frombuffer(fields["image"][0], "<i2").reshape(5, 8).tolist() == [
        [44, 144, 244, 344, 444, 544, 644, 744],
        [43, 143, 243, 343, 443, 543, 643, 743],
        [42, 142, 242, 342, 442, 542, 642, 742],
        [41, 141, 241, 341, 441, 541, 641, 741],
        [40, 140, 240, 340, 440, 540, 640, 740],
    ]
    assert fields["label"] == [bytes(40)]
    assert fields["has_spleen"] == [0]
    assert (fields["height"], fields["width"], fields["dtype"]) == ([5], [8], [b"int16"])
    assert (fields["slice_index"], fields["num_slices"]) == ([4], [6])
    assert (fields["plane"], fields["modality"], fields["case"]) == (
        [b"coronal"],
        [b"MR"],
        [b"case_1"],
    )
    assert fields["source_shape"] == [8, 6, 5]
    assert (fields["source_sha256"], fields["label_sha256"]) == ([b"5a"], [b"1b"])
    # Voxels of 0.8×0.7×5 mm: rows lie 5 mm apart, columns 0.8 mm, slices 0.7 mm.
    assert fields["pixel_mm"] == pytest.approx([5.0, 0.8], rel=1e-6)
    assert fields["slice_mm"] == pytest.approx([0.7], rel=1e-6)
    affine = struct.unpack("<16d", fields["affine"][0])
    assert np.array_equal(np.reshape(affine, (4, 4)), image.affine)
    assert affine[3] == 90  # Row-major: the first row's end is where voxel 0 lies.
    # Sorted, voxel n of 240 is i = n // 30, j = n % 30 // 5, k = n % 5. The ranks of the
    # percentiles are 0.005·239 = 1.195, 11.95, 119.5, 227.05 and 237.805.
    assert fields["intensity_percentiles"] == pytest.approx(
        [1.195, 21.95, (354 + 400) / 2, 732.05, 752.805], rel=1e-6
    )


def test_label_lies_on_the_image_and_says_where_spleen_is(tiny_nifti):
    examples = [fields_of(one) for one in encoded(nifti.read(tiny_nifti))]
    assert [fields["has_spleen"] for fields in examples] == [[0], [1], [1], [1], [0], [0]]
    labels = [np.frombuffer(fields["label"][0], np.uint8).reshape(5, 8) for fields in examples]
    # k = 2 and 1 are rows 2 and 3; i = 2 to 4 are columns 2 to 4.
    assert labels[2].tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize("plane", PLANES)
def test_slice_index_is_the_voxel_index_along_the_stored_axis_that_was_cut(make_volume, plane):
    cut_axis_of = {"coronal": "AP", "axial": "SI", "sagittal": "RL"}
    assert len(set(AXCODES)) == 48
    for axcodes in AXCODES:
        image = make_volume(axcodes)
        axis = next(n for n, letter in enumerate(axcodes) if letter in cut_axis_of[plane])
        indices = []
        for fields in map(fields_of, encoded(image, plane)):
            (index,) = fields["slice_index"]
            indices.append(index)
            pixels = np.frombuffer(fields["image"][0], "<i2")
            assert sorted(pixels) == sorted(image.array_ijk.take(index, axis).ravel())
        # Towards anterior, superior or right, whichever way the file runs.
        forward = axcodes[axis] in "ASR"
        assert indices == sorted(indices, reverse=not forward)
        assert len(set(indices)) == image.shape[axis]


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_slices_come_back_bit_for_bit(make_volume, plane, dtype):
    image = make_volume("PIR", dtype=dtype)
    image.array_ijk[:] = image.array_ijk * dtype(-43.7)  # Fractions in float32 only.
    expected = zip(
        planes.split(image.array_ijk, image.affine, plane),
        planes.split(box(), image.affine, plane),
        encoded(image, plane),
        strict=True,
    )
    for image_hw, label_hw, serialized in expected:
        record = schema.from_bytes(serialized, "x")
        np.testing.assert_array_equal(record.image_hw(), image_hw)
        np.testing.assert_array_equal(record.label_hw(), label_hw)
        in_graph = records.parse(tf.constant(serialized))
        pixels = records.image_values(in_graph["image"], in_graph["dtype"])
        assert pixels.dtype == tf.float32
        assert pixels.numpy().astype(dtype).tobytes() == image_hw.tobytes()
        assert in_graph["label"].numpy() == label_hw.tobytes()


def test_extreme_values_survive(make_volume):
    for dtype, extremes in (
        (np.int16, (-32768, 32767)),
        (np.float32, (np.finfo(np.float32).tiny, np.finfo(np.float32).max)),
    ):
        image = make_volume(dtype=dtype)
        image.array_ijk[0, 0, 0], image.array_ijk[7, 5, 4] = extremes
        pixels = b"".join(fields_of(one)["image"][0] for one in encoded(image))
        assert set(extremes) <= set(np.frombuffer(pixels, dtype).tolist())


def test_volumes_of_more_slices_than_are_copied_at_a_time_keep_all_in_order(make_volume):
    image = make_volume("LPS", shape=(3, 70, 2))
    rows = [np.frombuffer(fields_of(one)["image"][0], "<i2") for one in encoded(image)]
    # Towards anterior j runs down from 69; superior first, k = 1; then from right, i = 0.
    assert [row.tolist() for row in rows] == [
        [10 * j + 1, 10 * j + 101, 10 * j + 201, 10 * j, 10 * j + 100, 10 * j + 200]
        for j in range(69, -1, -1)
    ]


def test_same_volume_gives_same_bytes_whatever_its_order_in_memory(make_volume):
    image = make_volume("LSP")
    fortran = Volume(np.asfortranarray(image.array_ijk), image.affine, image.source)
    for plane in PLANES:
        assert encoded(image, plane) == encoded(fortran, plane)


def test_the_graph_sees_every_field_in_its_type_and_shape(make_volume):
    parsed = records.parse(tf.constant(encoded(make_volume())[0]))
    assert set(parsed) == set(FIELDS)
    for name, value in parsed.items():
        assert (value.dtype, value.shape) == (FIELDS[name].dtype, FIELDS[name].shape)


def test_voxels_of_another_type_are_not_encoded(make_volume):
    with pytest.raises(VolumeError, match=r"tiny_RAS\.nii: .* int16 or float32, found float64"):
        encoded(make_volume(dtype=np.float64))


# Files.


def test_examples_come_back_from_a_file_as_python_values(tmp_path, make_volume):
    path = write(tmp_path / "x", encoded(make_volume()))
    first, *others = records.read_examples(path)
    assert len(others) == 5
    assert (first.case, first.height, first.slice_index) == ("case_1", 5, 0)
    assert isinstance(first.image, bytes)
    assert first.source_shape == (8, 6, 5)


def rewrite(serialized, **changes):
    """The Example with fields set to other values, or without those that are None."""
    message = tf.train.Example.FromString(serialized)
    for name, value in changes.items():
        del message.features.feature[name]
        if isinstance(value, bytes):
            message.features.feature[name].bytes_list.value.append(value)
        elif value is not None:
            message.features.feature[name].int64_list.value.append(value)
    return message.SerializeToString()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"label": None},
            r"the field 'label' \(bytes_list, 1 values\), found 0; .* another schema",
        ),
        ({"height": b"5"}, r"the field 'height' \(int64_list, 1 values\), found 0"),
        ({"source_shape": 8}, r"the field 'source_shape' \(int64_list, 3 values\), found 1"),
        ({"image": bytes(79)}, "expected 80 bytes in the field 'image', found 79"),
        ({"label": bytes(41)}, "expected 40 bytes in the field 'label', found 41"),
        ({"affine": bytes(64)}, "expected 128 bytes in the field 'affine', found 64"),
        ({"dtype": b"float64"}, "expected pixels of int16 or float32, found 40 of 'float64'"),
        ({"dtype": b"\xff"}, "expected pixels of int16 or float32"),
        ({"height": 0}, "found 0 of 'int16'"),
        ({"width": 4}, "expected 40 bytes in the field 'image', found 80"),
    ],
)
def test_records_of_another_schema_are_refused(tmp_path, make_volume, changes, sentence):
    path = write(tmp_path / "x", [rewrite(encoded(make_volume())[0], **changes)])
    with pytest.raises(RecordError, match=rf"/x: .*{sentence}"):
        list(records.read_examples(path))


def test_what_is_no_example_is_refused(tmp_path):
    with pytest.raises(RecordError, match=r"/x: expected tf\.train\.Example records, found others"):
        list(records.read_examples(write(tmp_path / "x", [b"\xff\xff"])))
    (tmp_path / "text").write_text("not records, but longer than the header of one")
    with pytest.raises(RecordError, match="/text: expected an intact TFRecord file, found damage"):
        list(records.read_examples(tmp_path / "text"))
    with pytest.raises(RecordError, match="/none: expected a TFRecord file, found none"):
        list(records.read_examples(tmp_path / "none"))
    with pytest.raises(RecordError, match=": expected a readable TFRecord file, found: "):
        list(records.read_examples(tmp_path))


def test_full_disk_is_told_in_words(tmp_path, make_volume, no_room):
    serialized = encoded(make_volume())
    with (
        no_room(),
        pytest.raises(InputError, match="/x: expected a place to write to, found: File too large"),
    ):
        write(tmp_path / "x", serialized)


def test_a_file_that_may_not_be_read_is_no_damage(tmp_path, monkeypatch):
    """Root may read everything, so that TensorFlow's own complaint is put in its mouth."""
    import tensorflow as tf

    def denied(path):
        raise tf.errors.PermissionDeniedError(None, None, f"{path}; Permission denied")

    monkeypatch.setattr(tf.data, "TFRecordDataset", denied)
    with pytest.raises(InputError, match="expected a file that may be read, found: perm") as caught:
        list(records.read_examples(tmp_path / "x"))
    assert not isinstance(caught.value, RecordError)
