"""Headers with one field changed: read as nibabel or SimpleITK reads them, or refused by name."""

import logging
import random
import warnings

import nibabel as nib
import nifti_corpus
import numpy as np
import pytest
import SimpleITK

from spleen_tf.imaging.volume import VolumeError
from spleen_tf.io import nifti

SAMPLE = 250
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

# What a refusal calls the field that was changed, where it is not the field's own name.
ALSO_CALLED = {
    "srow_x": "sform",
    "srow_y": "sform",
    "srow_z": "sform",
    "qoffset_x": "qoffset",
    "qoffset_y": "qoffset",
    "qoffset_z": "qoffset",
}


# Where the outcome differs from both readers on purpose: field, which forms are set, and why.
DIFFERENCES = {
    ("quatern", "qform"): "no rotation: counts as no qform, and the voxel sizes are left",
    ("srow", "both"): "an unusable sform gives way to the qform, with a warning and a review",
    ("sform_code", "sform"): "any code above 0 is set, also one that the standard does not define",
    ("sform_code", "none"): "the same",
    ("qform_code", "qform"): "the same",
    ("qform_code", "none"): "the same",
}


def difference_of(mutant):
    """The entry of DIFFERENCES that a mutant falls under."""
    return mutant.field.split("_")[0] if "_code" not in mutant.field else mutant.field, mutant.forms


def as_nibabel_reads(path):
    image = nib.load(path)
    return image.get_fdata().reshape(image.shape[:3]), image.affine


def as_simpleitk_reads(path):
    image = SimpleITK.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), LPS @ affine


def agrees(image, judge, path):
    try:
        array_ijk, affine = judge(path)
    except Exception:  # Whatever a judge raises, it does not read the file.
        return False
    return (
        array_ijk.shape == image.shape
        and np.allclose(array_ijk, image.array_ijk, rtol=1e-6)
        and np.allclose(affine, image.affine, rtol=1e-5, atol=1e-4)
    )


def verdict(mutant, path):
    """None where the outcome is right, else what happened."""
    path.write_bytes(mutant.content)
    try:
        image = nifti.read(path)
    except VolumeError as refusal:
        name = mutant.field
        named = name in str(refusal) or ALSO_CALLED.get(name, name) in str(refusal)
        return None if named else f"{mutant}: {refusal}"
    if any(agrees(image, judge, path) for judge in (as_nibabel_reads, as_simpleitk_reads)):
        return None
    return f"{mutant}: read as no other reader does"


@pytest.fixture
def quiet_judges():
    level = logging.getLogger("nibabel").level
    logging.getLogger("nibabel").setLevel(logging.CRITICAL + 1)
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(True)
    logging.getLogger("nibabel").setLevel(level)


def unexplained(mutants, path):
    """What went wrong, apart from DIFFERENCES; and which of these there were."""
    verdicts = {mutant: verdict(mutant, path) for mutant in mutants}
    odd = [mutant for mutant, what in verdicts.items() if what]
    differences = {difference_of(mutant) for mutant in odd} & set(DIFFERENCES)
    return [verdicts[m] for m in odd if difference_of(m) not in DIFFERENCES], differences


@pytest.mark.parametrize("kind", nifti_corpus.KINDS)
@pytest.mark.parametrize("forms", nifti_corpus.FORMS)
def test_the_sound_file_is_read_as_its_judges_read_it(write_bytes, kind, forms):
    path = write_bytes(nifti_corpus.sound(kind, forms))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of the one without sform and qform.
        image = nifti.read(path)
    assert agrees(image, as_nibabel_reads, path)
    if kind == "NIfTI-1" and forms != "none":  # ITK takes no NIfTI-2, and another origin for none.
        assert agrees(image, as_simpleitk_reads, path)


@pytest.mark.usefixtures("quiet_judges")
def test_a_sample_of_headers_is_read_as_others_do_or_refused_by_the_name_of_the_field(tmp_path):
    sample = random.Random(0).sample(list(nifti_corpus.mutants()), SAMPLE)
    assert unexplained(sample, tmp_path / "a.nii")[0] == []


@pytest.mark.stress
@pytest.mark.usefixtures("quiet_judges")
def test_every_header_is_read_as_others_do_or_refused_by_the_name_of_the_field(tmp_path):
    wrong, differences = unexplained(nifti_corpus.mutants(), tmp_path / "a.nii")
    assert wrong == []
    assert differences == set(DIFFERENCES)  # None is listed in vain.
