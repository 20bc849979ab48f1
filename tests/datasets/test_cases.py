"""Data sets in their three layouts, and what is refused of them."""

import dataclasses
import json
import warnings

import nibabel
import numpy as np
import pytest

from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.datasets import cases, naming
from spleen_tf.datasets.cases import Case, DatasetError
from spleen_tf.imaging.volume import Volume, VolumeError
from spleen_tf.io import nifti


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "set"


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def describe(folder, description):
    folder.mkdir(exist_ok=True)
    text = description if isinstance(description, str) else json.dumps(description)
    (folder / "dataset.json").write_text(text)
    return folder


def decathlon(folder, *names, modality="CT"):
    pairs = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names]
    touch(folder, *(path for pair in pairs for path in pair.values()))
    return describe(folder, {"modality": {"0": modality}, "training": pairs})


def nnunet(folder, *names, channel="CT", ending=".nii.gz", **more):
    for name in names:
        touch(folder, f"imagesTr/{name}_0000{ending}", f"labelsTr/{name}{ending}")
    return describe(folder, {"channel_names": {"0": channel}, "file_ending": ending, **more})


def table(folder, text, *names):
    touch(folder, "x", *names)
    path = folder / "set.csv"
    path.write_text(text)
    return path


# Layouts.


def test_decathlon_layout_gives_the_pairs_of_training_by_name(folder):
    decathlon(folder, "spleen_9", "spleen_2")
    touch(folder, "imagesTr/spleen_5.nii.gz", "imagesTs/spleen_1.nii.gz")
    assert cases.load(folder) == [
        Case(
            name,
            str(folder / f"imagesTr/{name}.nii.gz"),
            str(folder / f"labelsTr/{name}.nii.gz"),
            "CT",
        )
        for name in ("spleen_2", "spleen_9")
    ]


def test_files_whose_names_are_no_text_are_refused(folder):
    nnunet(folder, b"m\xfcller".decode(errors="surrogateescape"))
    with pytest.raises(DatasetError, match=r"names in UTF-8, found 'm\\udcfcller'; rename them"):
        cases.load(folder)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_nnunet_layout_gives_every_label_and_its_first_channel(folder, ending):
    nnunet(folder, "amos_0007", "amos_0001", channel="T2", ending=ending)
    touch(folder, f"imagesTr/unlabelled_0000{ending}", f"labelsTr/._amos_0001{ending}")
    with pytest.warns(InputWarning, match=rf"unlabelled_0000{ending} without a label in labelsTr"):
        listed = cases.load(folder)
    assert listed == [
        Case(
            name,
            str(folder / f"imagesTr/{name}_0000{ending}"),
            str(folder / f"labelsTr/{name}{ending}"),
            "MR",
        )
        for name in ("amos_0001", "amos_0007")
    ]


def test_csv_paths_start_at_its_folder_unless_they_are_absolute(folder, tmp_path):
    touch(tmp_path, "elsewhere.nii")
    path = table(
        folder,
        f"case,image,label\nb,scans/b.nii,masks/b.nii\na,{tmp_path}/elsewhere.nii,../set/x\n",
        *("scans/b.nii", "masks/b.nii"),
    )
    a, b = cases.load(path, modality="MR")
    assert a == Case("a", f"{tmp_path}/elsewhere.nii", str(folder / "../set/x"), "MR")
    assert b == Case("b", str(folder / "scans/b.nii"), str(folder / "masks/b.nii"), "MR")


def test_csv_may_have_columns_for_split_and_modality_in_any_order(folder):
    path = table(
        folder,
        "\ufeffsplit, modality ,label,image,case,remark\n"
        "train,CT,x,x,a,first\n"
        "\n"
        "validation , mr,x,x, b\n",  # Blanks around the cells, and no remark.
    )
    a, b = cases.load(path)
    assert (a.name, a.modality, a.split) == ("a", "CT", "train")
    assert (b.name, b.modality, b.split) == ("b", "MR", "validation")


@pytest.mark.parametrize("kind", [decathlon, nnunet])
@pytest.mark.parametrize(
    ("said", "meant"),
    [("CT", "CT"), ("ct ", "CT"), ("MRI", "MR"), ("MR", "MR"), ("T1w", "MR"), ("FLAIR", "MR")],
)
def test_modality_is_taken_from_the_description(folder, kind, said, meant):
    kind(folder, "a", **{"modality" if kind is decathlon else "channel": said})
    assert [case.modality for case in cases.load(folder)] == [meant]


@pytest.mark.parametrize(
    "silent",
    [
        {"training": [{"image": "x", "label": "x"}]},
        {"training": [{"image": "x", "label": "x"}], "modality": {}},
        {"training": [{"image": "x", "label": "x"}], "modality": None},
    ],
)
def test_modality_is_asked_for_when_nothing_says_it(folder, silent):
    touch(folder, "x")
    describe(folder, silent)
    with pytest.raises(
        DatasetError,
        match=r"dataset\.json: expected the modality CT or MR, found nothing that says it; "
        r"pass --modality\.$",
    ):
        cases.load(folder)
    assert cases.load(folder, modality="MR")[0].modality == "MR"


def test_modality_that_is_passed_rules(folder):
    decathlon(folder, "a", modality="CT")
    assert cases.load(folder, modality="MR")[0].modality == "MR"


# Refusals.

PAIR = {"image": "x", "label": "x"}


@pytest.mark.parametrize(
    ("description", "sentence"),
    [
        ('{"training": [', "expected JSON, found text that does not parse"),
        ("\x00\x01", "expected JSON, found text that does not parse"),
        ([PAIR], "expected `object`, found `array`; correct it, or name the files in a .csv"),
        ({"name": "Spleen"}, r"expected a list 'training' .* or 'channel_names' .* found neither"),
        ({"training": "all"}, r"expected `array` at \$\.training, found `str`"),
        ({"training": []}, "expected at least one labelled case, found none: 'training' is empty"),
        ({"training": ["x"]}, r"expected `object` at \$\.training\[0\], found `str`"),
        ({"training": [{"image": "x"}]}, r"expected the key 'label' at \$\.training\[0\], found"),
        ({"training": [{"image": "x", "label": 3}]}, r"expected `str` at .*\.label, found `int`"),
        ({"training": [PAIR, PAIR], "modality": "CT"}, "expected every case once, found 'x' twice"),
        ({"channel_names": "CT"}, r"expected `object \| array` at \$\.channel_names, found `str`"),
        ({"channel_names": ["T1", "T2"]}, "expected one channel in .*, found T1, T2"),
        ({"channel_names": {"0": "CT", "1": "PET"}}, "expected one channel in .*, found CT, PET"),
        (
            {"channel_names": {"0": "CT"}, "file_ending": 3},
            r"expected `str` at \$\.file_ending, found `int`",
        ),
        ({"channel_names": {"0": "CT"}, "file_ending": ".png"}, r".* found '\.png'"),
        (
            {"channel_names": {"0": "CT"}},
            r"expected at least one labelled case, found none: .*labelsTr holds no file that ends "
            r"in \.nii\.gz, as file_ending says, but no file\.",
        ),
    ],
)
def test_description_that_does_not_fit_is_refused_by_its_name(folder, description, sentence):
    touch(folder, "x")
    describe(folder, description)
    with pytest.raises(InputError, match=rf"set/dataset\.json: {sentence}"):
        cases.load(folder)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "",
            r"expected the columns case,image,label\[,split\].*, found none; add case, ima",
        ),
        ("case,picture,label\na,x,x\n", r"found case,picture,label; add image\."),
        ("case,image,label\na,x,x,y\n", "expected 3 cells in line 2, .* found 4; put quotation"),
        ("case,image,label\n", "expected at least one labelled case, found none"),
        (
            "case,image,label\na,x,x\n\nb,x\n",
            "expected case, image and label in line 4, found no label",
        ),
        (
            "case,image,label,modality\na,x,x,CT\na,x,x,CT\n",
            "expected every case once, found 'a' twice",
        ),
        # A case in two splits.
        (
            "case,image,label,modality,split\na,x,x,CT,train\na,x,x,CT,validation\n",
            "expected every case once, found 'a' twice",
        ),
        ("case,image,label,split\na,x,x,test\n", "train or validation .* found 'test' in line 2"),
        (
            "case,image,label,split\na,x,x,train\nb,x,x,\n",
            "in every line or in none, found '' in line 3",
        ),
        (
            "case,image,label\n../a,x,x\n",
            r"expected case names that can name files, found '\.\./a'",
        ),
        ("case,image,label\na/b,x,x\n", "expected case names that can name files, found 'a/b'"),
        ("case,image,label,modality\na,x,x,PET\n", "the modality CT or MR, found 'PET'"),
        ("case,image,label\na,x,x\n", "found nothing that says it; pass --modality"),
    ],
)
def test_csv_that_does_not_fit_is_refused_by_its_name(folder, text, sentence):
    with pytest.raises(DatasetError, match=rf"set/set\.csv: .*{sentence}"):
        cases.load(table(folder, text))


def test_csv_in_another_encoding_is_refused(folder):
    path = table(folder, "")
    path.write_bytes("case,image,label\nmüller,x,x\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"set\.csv: expected a readable CSV in UTF-8, found: "):
        cases.load(path)


@pytest.mark.parametrize("missing", ["imagesTr/b.nii.gz", "labelsTr/b.nii.gz"])
def test_file_that_is_not_there_is_named_unless_it_may_be_missing(folder, missing):
    decathlon(folder, "a", "b")
    (folder / missing).unlink()
    with pytest.raises(DatasetError, match=rf"set/{missing}: expected a file, as .* found none"):
        cases.load(folder)
    assert [case.name for case in cases.load(folder, missing_ok=True)] == ["a", "b"]


def test_what_is_no_data_set_is_refused(folder):
    path = folder / "scan.nii"
    with pytest.raises(DatasetError, match=r"expected a data set's folder .* found nothing there"):
        cases.load(path)
    touch(folder, "scan.nii")
    with pytest.raises(DatasetError, match=r"scan\.nii: .* found a file of another kind"):
        cases.load(path)
    with pytest.raises(InputError, match=r"set: expected dataset.json in it .* or a .csv"):
        cases.load(folder)


# Volumes.


@pytest.fixture
def saved(make_volume, tmp_path):
    """A function that writes an image and a label and returns their Case."""
    image = make_volume()

    def save(label_ijk, affine=image.affine):
        nifti.write(tmp_path / "image.nii", image)
        nifti.write(tmp_path / "label.nii", Volume(label_ijk, affine, ""))
        return Case("a", str(tmp_path / "image.nii"), str(tmp_path / "label.nii"), "CT")

    return save


def organs():
    """Liver 1 in two voxels, spleen 2 in one."""
    label_ijk = np.zeros((8, 6, 5), np.int16)
    label_ijk[1, 1, 1] = label_ijk[1, 1, 2] = 1
    label_ijk[6, 4, 3] = 2
    return label_ijk


def test_any_label_above_zero_is_spleen_unless_a_value_is_given(saved, make_volume):
    case = saved(organs())
    with pytest.warns(InputWarning, match=r"values 1, 2 all count as spleen; --label_value picks"):
        image, label = cases.read(case)
    np.testing.assert_array_equal(image.array_ijk, make_volume().array_ijk)
    assert label.array_ijk.dtype == np.uint8
    assert np.argwhere(label.array_ijk == 1).tolist() == [[1, 1, 1], [1, 1, 2], [6, 4, 3]]
    assert label.array_ijk.sum() == 3
    _, spleen = cases.read(case, label_value=2)
    assert np.argwhere(spleen.array_ijk).tolist() == [[6, 4, 3]]
    assert spleen.array_ijk.max() == 1


def test_an_image_in_a_labels_place_is_refused(saved):
    with pytest.raises(VolumeError, match=r"label\.nii: expected a label, found 240 different val"):
        cases.read(saved(np.arange(1, 241, dtype=np.int16).reshape(8, 6, 5)))


def test_negative_labels_are_background(saved):
    _, label = cases.read(saved(-organs() + 2 * (organs() == 2) * organs()))
    assert np.argwhere(label.array_ijk).tolist() == [[6, 4, 3]]


def test_case_without_spleen_is_accepted_with_a_warning(saved):
    case = saved(organs())
    with pytest.warns(InputWarning, match=r"label\.nii: no voxel has the value 3; it counts"):
        _, label = cases.read(case, label_value=3)
    assert not label.array_ijk.any()
    with pytest.warns(InputWarning, match=r"label\.nii: no voxel has a value above 0; it counts"):
        cases.read(saved(np.zeros((8, 6, 5), np.uint8)))


def test_label_on_another_grid_is_refused_by_its_header_already(saved, make_volume):
    moved = make_volume().affine
    moved[0, 3] += 0.4  # Half of a voxel of 0.8 mm.
    for case, sentence in (
        (lambda: saved(organs()[:7]), r"label\.nii: expected shape \(8, 6, 5\) .* \(7, 6, 5\)"),
        (lambda: saved(organs(), moved), r"label\.nii: expected the affine of .* by 0\.\d voxels"),
    ):
        for look in (cases.read, cases.check_geometry):
            with pytest.raises(VolumeError, match=sentence):
                look(case())


def test_label_with_nan_is_refused(saved):
    label_ijk = organs().astype(np.float32)
    label_ijk[0, 0, 0] = np.nan
    with pytest.raises(VolumeError, match=r"label\.nii: expected finite voxels, found NaN"):
        cases.read(saved(label_ijk))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_label_whose_axes_run_otherwise_is_turned_over(saved, make_volume, tmp_path, dtype):
    image = make_volume()
    case = saved(organs())
    expected = cases.read(case, 2)[1].array_ijk
    assert expected.any()
    # j, i, k from the last to the first, i running backwards, at the same places.
    turned_ijk = organs().transpose(1, 0, 2)[:, ::-1].astype(dtype)
    index_map = np.array([[0, -1, 0, 7], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    nifti.write(tmp_path / "label.nii", Volume(turned_ijk, image.affine @ index_map, ""))
    cases.check_geometry(case)
    found_image, label = cases.read(case, 2)
    np.testing.assert_array_equal(label.array_ijk, expected)
    np.testing.assert_allclose(label.affine, found_image.affine, atol=1e-5)


def test_a_label_of_scaled_integers_keeps_its_organs(saved, tmp_path):
    """As nibabel writes float64 under an int16 header: the values come back a little off."""
    label_ijk = organs()
    label_ijk[0, 0, 0] = 13
    case = saved(label_ijk)
    expected = cases.read(case, 1)[1].array_ijk
    assert expected.any()
    stored = nibabel.load(case.label)
    header = stored.header.copy()
    header.set_data_dtype(np.int16)
    scaled = nibabel.Nifti1Image(label_ijk.astype(np.float64), stored.affine, header)
    nibabel.save(scaled, case.label)
    back = nibabel.load(case.label).get_fdata()
    assert (back != np.rint(back)).any()
    np.testing.assert_array_equal(cases.read(case, 1)[1].array_ijk, expected)


def test_a_label_with_fractions_is_refused(saved):
    label_ijk = organs().astype(np.float32)
    label_ijk[0, 0, 0] = 0.5
    with pytest.raises(VolumeError, match=r"label\.nii: expected whole numbers as labels, found 0"):
        cases.read(saved(label_ijk))


def test_usable_cases_are_told_from_others(saved, tmp_path):
    good = saved(organs())
    bad = dataclasses.replace(good, name="b", label=str(tmp_path / "none.nii"))
    with pytest.raises(VolumeError, match=r"none\.nii: expected a NIfTI file, found no such file"):
        cases.usable([good, bad])
    usable, error_of = cases.usable([good, bad], skip=True)
    assert usable == [good]
    assert list(error_of) == ["b"]


# Files as other systems leave them.


def test_a_description_with_a_byte_order_mark_is_read(folder):
    decathlon(folder, "a")
    text = (folder / "dataset.json").read_text()
    (folder / "dataset.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert [case.name for case in cases.load(folder)] == ["a"]


def test_suffixes_may_be_in_capital_letters(folder):
    nnunet(folder, "A", "b c", ending=".nii.gz")
    for path in [*folder.glob("*/A*"), *folder.glob("labelsTr/b*")]:
        path.rename(path.with_name(path.name.replace(".nii.gz", ".NII.GZ")))
    a, b = cases.load(folder)
    assert (a.name, a.image) == ("A", str(folder / "imagesTr/A_0000.NII.GZ"))
    assert (b.name, b.image) == ("b c", str(folder / "imagesTr/b c_0000.nii.gz"))
    assert b.label == str(folder / "labelsTr/b c.NII.GZ")


def test_a_description_may_name_files_in_other_letters_and_with_backslashes(folder):
    decathlon(folder, "a")
    (folder / "imagesTr/a.nii.gz").rename(folder / "imagesTr/a.NII.gz")
    pair = {"image": ".\\imagesTr\\a.nii.gz", "label": "labelsTr\\a.nii.gz"}
    describe(folder, {"modality": "CT", "training": [pair]})
    (case,) = cases.load(folder)
    assert (case.name, case.label) == ("a", str(folder / "labelsTr/a.nii.gz"))
    assert case.image == str(folder / "imagesTr/a.NII.gz")


def test_nnunet_may_name_files_that_lie_elsewhere(folder):
    touch(folder, "scans/x.nii.gz", "masks/x.nii.gz")
    files = {"a": {"images": ["scans/x.nii.gz"], "label": "masks/x.nii.gz"}}
    describe(folder, {"channel_names": {"0": "CT"}, "dataset": files})
    assert cases.load(folder) == [
        Case("a", str(folder / "scans/x.nii.gz"), str(folder / "masks/x.nii.gz"), "CT")
    ]
    files["a"]["images"] *= 2
    describe(folder, {"channel_names": {"0": "CT"}, "dataset": files})
    with pytest.raises(DatasetError, match="expected one image of case 'a', found 2"):
        cases.load(folder)


def test_a_folder_of_nnunet_v1_is_read_where_there_is_one_channel(folder):
    decathlon(folder, "a")
    (folder / "imagesTr/a.nii.gz").rename(folder / "imagesTr/a_0000.nii.gz")
    (case,) = cases.load(folder)
    assert (case.name, case.image) == ("a", str(folder / "imagesTr/a_0000.nii.gz"))
    touch(folder, "imagesTr/a_0001.nii.gz")
    with pytest.raises(DatasetError, match=r"found none; there are several channels a_000N, as nn"):
        cases.load(folder)


def test_images_of_nnunet_v2_without_a_channel_number_are_found(folder):
    nnunet(folder, "a")
    (folder / "imagesTr/a_0000.nii.gz").rename(folder / "imagesTr/a.nii.gz")
    assert cases.load(folder)[0].image == str(folder / "imagesTr/a.nii.gz")


def test_a_label_of_the_other_suffix_is_found(folder):
    decathlon(folder, "a")
    (folder / "labelsTr/a.nii.gz").rename(folder / "labelsTr/a.nii")
    assert cases.load(folder)[0].label == str(folder / "labelsTr/a.nii")


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        *(("ct", "CT"), ("portal-venous CT", "CT"), ("CECT", "CT"), ("Computed Tomography", "CT")),
        *(("MRI", "MR"), ("T2w", "MR"), ("magnetic resonance", "MR"), ("abdomen_t1", "MR")),
        *(("CBCT", None), ("PET", None), ("noNorm", None), ("", None)),
    ],
)
def test_names_of_channels_say_the_modality(name, modality):
    assert naming.understood_modality(name) == modality


@pytest.mark.parametrize(
    "key", [{"modality": ["MRI"]}, {"Modality": {"0": "mr"}}, {"modality": "T2 weighted"}]
)
def test_the_modality_may_be_a_list_or_a_text(folder, key):
    decathlon(folder, "a")
    description = json.loads((folder / "dataset.json").read_text())
    del description["modality"]
    describe(folder, description | key)
    assert cases.load(folder)[0].modality == "MR"
    describe(folder, description | {"modality": {"0": "noNorm"}})
    with pytest.raises(DatasetError, match="CT or MR, found 'noNorm'; pass --modality"):
        cases.load(folder)


def test_labels_of_another_ending_get_a_hint(folder):
    nnunet(folder, "a", ending=".nii.gz")
    describe(folder, {"channel_names": {"0": "CT"}, "file_ending": ".nii"})
    with pytest.raises(DatasetError, match=r"ends in \.nii, .* but 1 others, such as a\.nii\.gz"):
        cases.load(folder)


def test_the_folder_above_a_data_set_gets_a_hint(folder):
    decathlon(folder, "a")
    with pytest.raises(DatasetError, match="found neither; the folder set in it has one: give tha"):
        cases.load(folder.parent)
    with pytest.raises(DatasetError, match=r"a file of another kind; give the folder that it is"):
        cases.load(folder / "dataset.json")


def test_a_table_may_be_of_windows(folder):
    path = table(folder, "", "scans/a 1.nii.gz", "masks/ä.nii")
    lines = "Case,IMAGE,label,modality\r\na,scans\\a 1.nii.gz,masks\\ä.nii,CT\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + lines.encode())
    assert cases.load(path) == [
        Case("a", str(folder / "scans/a 1.nii.gz"), str(folder / "masks/ä.nii"), "CT")
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("first_line", ["", "sep=@\n"])
def test_a_table_may_be_as_a_spreadsheet_writes_it(folder, delimiter, encoding, first_line):
    path = table(folder, "", "a 1.nii.gz", "ä.nii")
    lines = first_line + "case@image@label@modality@split\na@a 1.nii.gz@ä.nii@CT@Val\n"
    path.write_bytes(lines.replace("@", delimiter).encode(encoding))
    assert cases.load(path) == [
        Case("a", str(folder / "a 1.nii.gz"), str(folder / "ä.nii"), "CT", "validation")
    ]


def test_a_path_of_windows_gets_a_hint(folder):
    path = table(folder, "case,image,label,modality\na,C:\\data\\x.nii,x.nii,CT\n", "x.nii")
    with pytest.raises(DatasetError, match="found none; a path of Windows: write it relative to t"):
        cases.load(path)


def test_a_spreadsheet_in_a_tables_place_is_named(folder):
    path = table(folder, "")
    path.write_bytes(b"PK\3\4" + bytes(40))
    with pytest.raises(DatasetError, match="expected a CSV, found a zip archive, as spreadsheets"):
        cases.load(path)


def test_real_data_sets_load(real_data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        listed = cases.load(real_data / "mr_t2")
        for case in listed:
            cases.check_geometry(case)
    assert len(listed) == 14
    assert {case.modality for case in listed} == {"MR"}
    assert [case.modality for case in cases.load(real_data / "ct")] == ["CT"]
