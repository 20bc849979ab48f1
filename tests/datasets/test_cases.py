"""Data sets in their three layouts, and what is refused of them."""

import json
import warnings

import numpy as np
import pytest

from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.datasets import cases
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
    assert cases.load(folder) == [
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
        {"training": [{"image": "x", "label": "x"}], "modality": {"0": "noNorm"}},
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
        ([PAIR], "expected a JSON object, found list"),
        ({"name": "Spleen"}, r"expected a list 'training' .* or 'channel_names' .* found neither"),
        ({"training": "all"}, r"expected a list 'training' .* found neither"),
        ({"training": []}, "expected at least one labelled case, found none"),
        ({"training": ["x"]}, "expected entries with image and label in 'training', found 'x'"),
        ({"training": [{"image": "x"}]}, "expected entries with image and label"),
        ({"training": [{"image": "x", "label": 3}]}, "expected entries with image and label"),
        ({"training": [PAIR, PAIR], "modality": "CT"}, "expected every case once, found 'x' twice"),
        ({"channel_names": ["CT"]}, "expected one channel in channel_names"),
        ({"channel_names": {"0": "CT", "1": "PET"}}, "expected one channel in channel_names"),
        (
            {"channel_names": {"0": "CT"}, "file_ending": 3},
            r"expected a file_ending of \.nii or \.nii\.gz, found 3",
        ),
        ({"channel_names": {"0": "CT"}, "file_ending": ".png"}, r".* found '\.png'"),
        ({"channel_names": {"0": "CT"}}, "expected at least one labelled case, found none"),
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
        ("", r"expected the columns case,image,label\[,split\], found "),
        ("case;image;label\na;x;x\n", "found case;image;label"),
        ("case,image,label\n", "expected at least one labelled case, found none"),
        ("case,image,label\na,x,x\n\nb,x\n", "expected case, image and label in line 4"),
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
    with pytest.warns(InputWarning, match=r"label\.nii: no voxel with value 3: a case without"):
        _, label = cases.read(case, label_value=3)
    assert not label.array_ijk.any()
    with pytest.warns(InputWarning, match=r"label\.nii: no voxel with value above 0: a case with"):
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


def test_real_data_sets_load(real_data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        listed = cases.load(real_data / "mr_t2")
        for case in listed:
            cases.check_geometry(case)
    assert len(listed) == 14
    assert {case.modality for case in listed} == {"MR"}
    assert [case.modality for case in cases.load(real_data / "ct")] == ["CT"]
