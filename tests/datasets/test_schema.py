"""Records as bytes, beside TensorFlow's own messages as a judge."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from spleen_tf.datasets import schema
from spleen_tf.datasets.schema import FIELDS, RecordError, SliceRecord

RECORD = SliceRecord(
    image=np.arange(6, dtype="<i2").tobytes(),
    label=bytes((0, 0, 1, 1, 0, 0)),
    height=2,
    width=3,
    dtype="int16",
    case="Müller 1",
    modality="CT",
    plane="axial",
    slice_index=4,
    num_slices=7,
    pixel_mm=(0.5, 0.75),
    slice_mm=5.0,
    affine=np.diag([0.75, 0.5, 5.0, 1.0]).tobytes(),
    source_shape=(3, 2, 7),
    source_sha256="5a",
    label_sha256="1b",
    has_spleen=1,
    intensity_percentiles=(-1000.0, -900.0, 0.5, 60.0, 250.0),
)


def test_a_record_comes_back_from_its_bytes():
    assert schema.from_bytes(schema.to_bytes(RECORD), "x") == RECORD


def test_tensorflow_sees_the_same_example():
    example = tf.train.Example.FromString(schema.to_bytes(RECORD))
    assert set(example.features.feature) == set(FIELDS)
    assert example.features.feature["case"].bytes_list.value[:] == ["Müller 1".encode()]
    assert example.features.feature["num_slices"].int64_list.value[:] == [7]
    assert example.features.feature["pixel_mm"].float_list.value[:] == [0.5, 0.75]
    assert example.SerializeToString(deterministic=True) == schema.to_bytes(RECORD)


def test_arrays_of_a_record():
    assert RECORD.image_hw().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert RECORD.label_hw().tolist() == [[0, 0, 1], [1, 0, 0]]
    assert RECORD.affine_matrix().diagonal().tolist() == [0.75, 0.5, 5.0, 1.0]


def test_a_record_whose_bytes_do_not_fit_its_size_is_refused():
    serialized = schema.to_bytes(dataclasses.replace(RECORD, width=4))
    with pytest.raises(RecordError, match="x: expected 16 bytes in the field 'image', found 12"):
        schema.from_bytes(serialized, "x")


@pytest.mark.parametrize("serialized", [b"\xff\xff", b"text, not an Example"])
def test_what_is_no_example_is_refused(serialized):
    with pytest.raises(RecordError, match=r"^x: expected "):
        schema.from_bytes(serialized, "x")


def test_an_example_of_another_schema_is_refused():
    with pytest.raises(RecordError, match=r"x: .* the field 'image' \(bytes_list, 1 values\), fo"):
        schema.from_bytes(tf.train.Example().SerializeToString(), "x")
