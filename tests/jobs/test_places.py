"""Places of outputs, refused before any work is done."""

import pytest

from spleen_tf.core.files import InputError
from spleen_tf.io import nifti
from spleen_tf.jobs import places


@pytest.mark.parametrize("name", ["OUT.NII.GZ", "out 1.Nii", "Müller 王 'x' #1.nii.gz"])
def test_any_name_that_says_nifti_is_taken(tmp_path, name):
    places.check_place(tmp_path / "new" / name, nifti.SUFFIXES)


def test_a_link_to_a_folder_is_a_folder(tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "masks")
    places.check_place(tmp_path / "link" / "a.nii", nifti.SUFFIXES)


def test_a_link_to_a_missing_folder_is_refused_with_where_it_leads(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "missing")
    with pytest.raises(
        InputError, match=r"link to be a folder, found a link to a missing one; mak"
    ):
        places.check_place(tmp_path / "link" / "new" / "a.nii", nifti.SUFFIXES)


def test_a_name_that_leaves_no_room_for_the_file_in_the_making_is_refused(tmp_path):
    places.check_place(tmp_path / f"{'ä' * 116}a.nii", nifti.SUFFIXES)
    with pytest.raises(InputError, match="an output name of at most 237 bytes, found 238; shorten"):
        places.check_place(tmp_path / f"{'ä' * 117}.nii", nifti.SUFFIXES)
