"""Verification of records: what is intact, what is found of damage, and volumes rebuilt."""

import json
import shutil

import nibabel
import numpy as np
import pytest
import tensorflow as tf

from spleen_tf.datasets import metadata, records
from spleen_tf.imaging.planes import PLANES

TRAIN_0 = "spleen-train.tfrecord-00000-of-00002"
TRAIN_1 = "spleen-train.tfrecord-00001-of-00002"
VALIDATION = "spleen-validation.tfrecord-00000-of-00001"


@pytest.fixture(scope="session")
def convert(load_tool):
    """A function that converts with one worker."""
    tool = load_tool("make_tfrecords")

    def run(dataset, output_dir, **flags):
        tool.main(
            tool.ConvertConfig(dataset=str(dataset), output_dir=str(output_dir), workers=1, **flags)
        )
        return output_dir

    return run


@pytest.fixture(scope="session")
def intact(make_dataset, convert, tmp_path_factory):
    """Records of a, b and c, which train, and of d, which validates: 6 coronal slices each.

    The first shard of train holds a and c, the second b.
    """
    folder = tmp_path_factory.mktemp("intact")
    make_dataset(folder / "set", "abcd")
    splits = folder / "splits.json"
    splits.write_text('{"train": ["a", "b", "c"], "validation": ["d"]}')
    return convert(folder / "set", folder / "records", splits=str(splits), num_shards=2)


@pytest.fixture
def folder(intact, tmp_path):
    """A copy of the records to damage."""
    return shutil.copytree(intact, tmp_path / "records")


@pytest.fixture
def verify(load_tool, run_main):
    """A function that runs the command in this process: exit code, stdout, lines of stderr."""
    tool = load_tool("verify_tfrecords")

    def run(folder, *flags):
        code, out, err = run_main(tool.main, tool.VerifyConfig, f"--records={folder}", *flags)
        return code, out, err.splitlines()

    return run


def serialized_of(path):
    return list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())


def write(path, serialized):
    with records.writer(path) as writer:
        for one in serialized:
            writer.write(one)


def rewrite(path, change):
    """Replaces the Examples of a shard by those that `change` makes of their list."""
    write(path, change(serialized_of(path)))


def with_field(serialized, name, value):
    message = tf.train.Example.FromString(serialized)
    feature = message.features.feature[name]
    values = feature.bytes_list.value if isinstance(value, bytes) else feature.int64_list.value
    values[:] = [value]
    return message.SerializeToString()


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


# Intact and damaged.


def test_intact_records_pass(intact, verify):
    assert verify(intact) == (0, f"{intact}: 24 slices of 4 cases, intact\n", [])


def cut_in_a_record(folder):
    path = folder / TRAIN_0
    path.write_bytes(path.read_bytes()[:-30])


def cut_between_records(folder):
    rewrite(folder / TRAIN_0, lambda examples: examples[:-1])


def flip(position):
    """One bit, at a share of the file's length or counted in bytes from its start or end."""

    def damage(folder):
        content = bytearray((folder / TRAIN_0).read_bytes())
        place = int(position * len(content)) if isinstance(position, float) else position
        content[place] ^= 1
        (folder / TRAIN_0).write_bytes(content)

    return damage


def empty(folder):
    (folder / TRAIN_0).write_bytes(b"")


def other_schema(folder):
    def without_label(serialized):
        message = tf.train.Example.FromString(serialized)
        del message.features.feature["label"]
        return message.SerializeToString()

    rewrite(folder / TRAIN_0, lambda examples: [without_label(one) for one in examples])


def smaller_pixels(folder):
    rewrite(
        folder / TRAIN_0,
        lambda examples: [with_field(one, "image", bytes(40)) for one in examples],
    )


def missing_slice(folder):
    rewrite(folder / TRAIN_0, lambda examples: examples[:2] + examples[3:])


def missing_slice_that_dataset_info_does_not_miss(folder):
    missing_slice(folder)
    edit_json(
        folder / "dataset_info.json", lambda c: c["splits"][0].update(shardLengths=["11", "6"])
    )


def slice_twice(folder):
    rewrite(folder / TRAIN_0, lambda examples: [*examples[:2], examples[1], *examples[3:]])


def changed_voxel(folder):
    """With a fresh checksum, as a program would write it."""

    def change(examples):
        pixels = bytearray(records.parse(tf.constant(examples[3]))["image"].numpy())
        pixels[10] ^= 1
        return [*examples[:3], with_field(examples[3], "image", bytes(pixels)), *examples[4:]]

    rewrite(folder / TRAIN_0, change)


def changed_label(folder):
    def change(examples):
        return [with_field(examples[0], "label", b"\1" * 40), *examples[1:]]

    rewrite(folder / TRAIN_0, change)


def two_planes(folder):
    def change(examples):
        return [*examples[:5], with_field(examples[5], "plane", b"axial"), *examples[6:]]

    rewrite(folder / TRAIN_0, change)


def another_affine(folder):
    rewrite(
        folder / TRAIN_0,
        lambda examples: [with_field(one, "affine", bytes(128)) for one in examples],
    )


def swapped_hashes(key):
    def damage(folder):
        def swap(content):
            a, b = content["cases"]["a"], content["cases"]["b"]
            a[key], b[key] = b[key], a[key]

        edit_json(folder / "cases.json", swap)

    return damage


def foreign_hash(key):
    return lambda folder: edit_json(
        folder / "cases.json", lambda content: content["cases"]["a"].update({key: "0" * 64})
    )


def other_count(folder):
    edit_json(folder / "cases.json", lambda c: c["cases"]["a"].update(num_slices=7))


def other_shape(folder):
    """With the same number of voxels, so that their hash says nothing."""
    edit_json(folder / "cases.json", lambda c: c["cases"]["a"].update(shape=[6, 8, 5]))


def foreign_case(folder):
    rewrite(
        folder / TRAIN_0, lambda examples: [with_field(one, "case", b"x") for one in examples[:6]]
    )


def case_of_the_other_split(folder):
    shutil.copy(folder / VALIDATION, folder / TRAIN_1)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (cut_in_a_record, "expected an intact TFRecord file, found damage (cut short, or a check"),
        (cut_between_records, "case 'c': expected each of 6 slices once, found 5 different ones"),
        (cut_between_records, "expected 12 records as dataset_info.json says, found 11"),
        (empty, "expected 12 records as dataset_info.json says, found 0"),
        (flip(0.5), "expected an intact TFRecord file, found damage"),
        (flip(0.9), "expected an intact TFRecord file, found damage"),
        (flip(0), "expected an intact TFRecord file, found damage"),  # The first length.
        (flip(9), "expected an intact TFRecord file, found damage"),  # Its checksum.
        (flip(-1), "expected an intact TFRecord file, found damage"),  # The last checksum.
        (lambda folder: (folder / TRAIN_0).unlink(), "expected a TFRecord file, found none"),
        (other_schema, "the field 'label' (bytes_list, 1 values), found 0; they follow another s"),
        (smaller_pixels, "expected 80 bytes in the field 'image', found 40; they follow another"),
        (missing_slice, "case 'a': expected each of 6 slices once, found 5 different ones"),
        (missing_slice_that_dataset_info_does_not_miss, "case 'a': expected each of 6 slices once"),
        (slice_twice, "case 'a': expected each of 6 slices once, found 5 different ones"),
        (changed_voxel, "case 'a': expected image voxels with SHA-256"),
        (changed_label, "case 'a': expected label voxels with SHA-256"),
        (two_planes, "case 'a': expected one plane in all slices, found several"),
        (another_affine, "case 'a': expected an invertible affine, found a singular one"),
        (swapped_hashes("source_sha256"), "case 'a': expected source_sha256 "),
        (swapped_hashes("voxels_sha256"), "case 'a': expected image voxels with SHA-256"),
        (foreign_hash("label_sha256"), "case 'a': expected label_sha256 0000"),
        (foreign_hash("label_voxels_sha256"), "case 'a': expected label voxels with SHA-256 0000"),
        (other_count, "case 'a': expected num_slices 7 as in cases.json, found 6"),
        (other_shape, "case 'a': expected shape [6, 8, 5], found [8, 6, 5]"),
        (foreign_case, "case 'x': expected a case of train in cases.json, found another"),
    ],
)
def test_damage_names_the_file_in_a_line_and_fails(folder, verify, damage, sentence):
    damage(folder)
    code, out, told = verify(folder)
    assert code == 1
    assert all(line.startswith("damage: ") for line in told)
    assert [line for line in told if f"{folder}/{TRAIN_0}: " in line and sentence in line]
    assert out.endswith(f", {len(told)} faults\n")


def test_damage_of_one_case_is_told_once_and_others_are_still_looked_at(folder, verify, tmp_path):
    changed_voxel(folder)  # Of a; c follows it in the same shard.
    code, out, told = verify(folder, f"--rebuild_dir={tmp_path}/rebuilt")
    assert (code, len(told)) == (1, 1)
    assert out == f"{folder}: 24 slices of 4 cases, 1 faults\n"
    assert sorted(path.name for path in (tmp_path / "rebuilt").iterdir()) == [
        f"{name}{kind}.nii.gz" for name in "bcd" for kind in ("", "_label")
    ]


def test_damage_of_one_shard_leaves_the_others_to_be_looked_at(folder, verify):
    flip(0)(folder)
    cut = (folder / VALIDATION).read_bytes()[:-1]
    (folder / VALIDATION).write_bytes(cut)
    code, out, told = verify(folder)
    assert code == 1
    assert out == f"{folder}: 6 slices of 1 cases, 5 faults\n"
    assert [line.split(": ")[1:3] for line in told] == [
        [
            f"{folder}/{TRAIN_0}",
            "expected an intact TFRecord file, found damage (cut short, or a "
            "checksum fails); run make_tfrecords again.",
        ],
        [
            f"{folder}/{VALIDATION}",
            "expected an intact TFRecord file, found damage (cut short, or "
            "a checksum fails); run make_tfrecords again.",
        ],
        *(
            [f"{folder}", f"expected the case {name!r} as cases.json says, found no intact slice."]
            for name in "acd"
        ),
    ]


def test_case_in_two_shards_is_damage(folder, verify):
    rewrite(folder / TRAIN_1, lambda examples: examples + serialized_of(folder / TRAIN_0)[:6])
    code, _, told = verify(folder)
    assert code == 1
    assert f"{folder}/{TRAIN_1}: case 'a': found for the second time." in told[0]


def test_case_in_the_shard_of_another_split_is_damage(folder, verify):
    case_of_the_other_split(folder)
    code, _, told = verify(folder)
    assert code == 1
    assert f"{folder}/{TRAIN_1}: case 'd': expected a case of train" in told[0]


def test_shard_that_belongs_to_nothing_is_damage(folder, verify):
    stray = folder / "spleen-train.tfrecord-00003-of-00004"
    shutil.copy(folder / TRAIN_0, stray)
    code, _, told = verify(folder)
    assert code == 1
    assert told == [
        f"damage: {stray}: expected no file that dataset_info.json does not name, found this one."
    ]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("cases.json", "{", "expected JSON, found text that does not parse"),
        ("cases.json", "{}", "expected the key 'cases', found none; run make_tfrecords again"),
        ("dataset_info.json", "", "expected JSON, found an empty file"),
        (
            "dataset_info.json",
            "{}",
            "expected the key 'splits', found none; run make_tfrecords",
        ),
        ("features.json", None, "expected a JSON file, found: No such file"),
        ("features.json", "{}", "expected the fields of this release, found another schema"),
        ("splits.json", None, "expected a JSON file, found: No such file"),
        (
            "splits.json",
            '{"train": ["a", "b", "d"], "validation": ["c"]}',
            "expected the cases of train that cases.json names, found a difference in 'c'",
        ),
    ],
)
def test_damaged_metadata_are_named(folder, verify, name, content, sentence):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    code, _, told = verify(folder)
    assert code == 1
    assert told[0].startswith(f"damage: {folder}/{name}: {sentence}")


# Rebuilding.

TURN = np.radians((20, -35, 50))


def oblique(zooms_mm):
    """A rotation about all axes, after the array's own axes, with an origin."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(TURN), np.cos(TURN)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_y @ about_x * zooms_mm
    affine[:3, 3] = (-31.7, 12.3, 845.1)
    return affine


def save(path, stored, affine, kind=nibabel.Nifti1Image, order="<", unit="mm", scaling=(1, 0)):
    """A file with voxels as they are stored; without scaling and sform if it is a mask's."""
    header = kind.header_class(endianness=order)
    header.set_data_dtype(stored.dtype.newbyteorder(order))
    header.set_xyzt_units(unit)
    image = kind(stored, None, header)
    image.set_qform(affine, code=1)
    if not path.name.startswith("qform_only"):
        image.set_sform(affine, code=1)
    image.header.set_slope_inter(*scaling)
    nibabel.save(image, path)


@pytest.fixture(scope="session")
def sources(tmp_path_factory, make_affine):
    """A data set of all kinds of files, each in an orientation of its own."""
    folder = tmp_path_factory.mktemp("sources")
    i, j, k = np.indices((5, 4, 3))
    ramp = (100 * i + 10 * j + k - 200).astype(np.int16)
    nifti_2 = nibabel.Nifti2Image
    rows = ["case,image,label"]
    for number, (name, affine, stored, how) in enumerate(
        (
            ("int16", make_affine("LPS"), ramp, {}),
            ("float32", make_affine("SAR"), ramp / np.float32(7), {}),
            ("scaled_to_halves", make_affine("PIR"), ramp, {"scaling": (0.5, 3)}),
            ("scaled_to_whole", make_affine("ILA"), ramp, {"scaling": (2, -24)}),
            ("big_endian", make_affine("RSP"), ramp, {"order": ">"}),
            ("big_endian_floats", make_affine("AIL"), ramp / np.float32(3), {"order": ">"}),
            ("nifti_2", oblique((0.1, 0.2, 0.3)), ramp, {"kind": nifti_2}),
            ("metres", oblique((0.0007, 0.0008, 0.005)), ramp, {"unit": "meter"}),
            ("uint16", oblique((1, 2, 3)), (ramp + 40000).astype(np.uint16), {}),
            ("qform_only", oblique((0.8, 0.7, 5.0)), ramp, {}),
        )
    ):
        stored = (stored + number).astype(stored.dtype)  # No two images are the same.
        save(folder / f"{name}.nii", stored, affine, **how)
        mask = (ramp % 3 == 0).astype(np.uint8)
        save(folder / f"{name}_mask.nii", mask, affine, **{**how, "scaling": (1, 0)})
        rows.append(f"{name},{name}.nii,{name}_mask.nii")
    (folder / "cases.csv").write_text("\n".join(rows))
    return folder


@pytest.mark.parametrize("plane", PLANES)
def test_volumes_are_rebuilt_bit_for_bit_with_their_affine(
    sources, convert, verify, tmp_path, plane
):
    folder = convert(sources / "cases.csv", tmp_path / "records", plane=plane, modality="MR")
    code, out, told = verify(folder, f"--rebuild_dir={tmp_path}/rebuilt")
    assert (code, told) == (0, [])
    assert out.endswith(" of 10 cases, intact\n")
    fractions = {"float32", "big_endian_floats", "scaled_to_halves", "uint16"}
    for name in metadata.read_cases(folder):
        source = nibabel.load(sources / f"{name}.nii")
        rebuilt = nibabel.load(tmp_path / f"rebuilt/{name}.nii.gz")
        dtype = np.float32 if name in fractions else np.int16  # uint16 is beyond int16.
        assert rebuilt.get_data_dtype() == dtype
        physical = source.get_fdata().astype(dtype)
        assert np.asanyarray(rebuilt.dataobj).tobytes() == physical.tobytes()
        in_mm = np.diag([1000, 1000, 1000, 1] if name == "metres" else [1, 1, 1, 1])
        assert np.array_equal(rebuilt.affine, in_mm @ source.affine)
        mask = nibabel.load(sources / f"{name}_mask.nii")
        label = nibabel.load(tmp_path / f"rebuilt/{name}_label.nii.gz")
        assert label.get_data_dtype() == np.uint8
        assert np.asanyarray(label.dataobj).tobytes() == np.asanyarray(mask.dataobj).tobytes()
        assert np.array_equal(label.affine, rebuilt.affine)


def test_array_axis_is_rebuilt_as_well(sources, convert, verify, tmp_path):
    with pytest.warns(match="in different cases"):
        folder = convert(sources / "cases.csv", tmp_path / "records", array_axis=1, modality="MR")
    assert verify(folder)[0] == 0


def test_rebuilt_volumes_convert_to_the_same_pixels(intact, convert, verify, tmp_path):
    rebuilt = tmp_path / "rebuilt"
    assert verify(intact, f"--rebuild_dir={rebuilt}")[0] == 0
    rows = [f"{name},{name}.nii.gz,{name}_label.nii.gz" for name in "abcd"]
    (rebuilt / "cases.csv").write_text("\n".join(["case,image,label", *rows]))
    again = convert(
        rebuilt / "cases.csv",
        tmp_path / "again",
        splits=str(intact / "splits.json"),
        num_shards=2,
        modality="CT",
    )
    for name in (TRAIN_0, TRAIN_1, VALIDATION):
        pairs = zip(
            records.read_examples(intact / name), records.read_examples(again / name), strict=True
        )
        for one, other in pairs:
            assert one.image == other.image
            assert one.label == other.label
            assert one.affine == other.affine


def test_real_case_is_rebuilt_bit_for_bit(real_data, convert, verify, tmp_path):
    image, label = (
        min((real_data / "mr_t2" / part).iterdir()) for part in ("imagesTr", "labelsTr")
    )
    table = tmp_path / "one.csv"
    table.write_text(f"case,image,label,modality\nreal,{image},{label},MR\n")
    with pytest.warns(match="one case only"):
        folder = convert(table, tmp_path / "records", plane="axial")
    assert verify(folder, f"--rebuild_dir={tmp_path}/rebuilt")[0] == 0
    for source, name in ((image, "real.nii.gz"), (label, "real_label.nii.gz")):
        source, rebuilt = nibabel.load(source), nibabel.load(tmp_path / "rebuilt" / name)
        assert np.array_equal(rebuilt.get_fdata(), source.get_fdata())
        assert np.array_equal(rebuilt.affine, source.affine)


# What is refused.


@pytest.mark.parametrize("missing", [None, "cases.json", "dataset_info.json"])
def test_what_is_no_folder_of_records_is_refused(folder, verify, tmp_path, missing):
    place = tmp_path / "elsewhere" if missing is None else folder
    if missing:
        (folder / missing).unlink()
    code, out, told = verify(place)
    assert (code, out, len(told)) == (2, "", 1)
    assert told[0].startswith(f"error: {place}: expected a folder of records (")
    assert "found none or half of one; run make_tfrecords" in told[0]


def test_rebuild_dir_that_cannot_be_written_is_refused(intact, verify, tmp_path):
    (tmp_path / "file").touch()
    code, out, told = verify(intact, f"--rebuild_dir={tmp_path}/file")
    assert (code, out, len(told)) == (2, "", 1)
    assert told[0].startswith(f"error: {tmp_path}/file: expected a folder to write to, found: ")


def test_rebuild_of_cases_whose_files_would_share_a_name_is_refused(
    make_dataset, make_volume, convert, verify, tmp_path
):
    volumes = {name: make_volume() for name in ("a", "a_label")}
    volumes["a"].array_ijk[:] += 1
    folder = convert(make_dataset(tmp_path / "set", volumes), tmp_path / "out", num_folds=2)
    assert verify(folder)[0] == 0
    code, _, told = verify(folder, f"--rebuild_dir={tmp_path}/rebuilt")
    assert (code, told) == (
        2,
        ["error: --rebuild_dir: expected a_label.nii.gz for one file, found it for two."],
    )


@pytest.mark.slow
def test_the_program_itself(folder, run_python):
    cut_in_a_record(folder)
    done = run_python("tools/verify_tfrecords.py", f"--records={folder}")
    assert done.returncode == 1
    # Of a file that is cut short, no case counts: here two of the four.
    assert done.stdout == f"{folder}: 12 slices of 2 cases, 3 faults\n"
    assert [line.split(": ")[:2] for line in done.stderr.splitlines()] == [
        ["damage", f"{folder}/{TRAIN_0}"],
        ["damage", f"{folder}"],
        ["damage", f"{folder}"],
    ]
