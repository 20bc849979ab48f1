"""Which models are believed, with models that find what the test says; and README's example."""

import math
import pathlib
import re

import numpy as np
import pytest

from spleen_tf.imaging import planes
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import prediction
from spleen_tf.io import nifti
from spleen_tf.phantom import generate
from spleen_tf.quality import evidence
from spleen_tf.quality.calibration import Calibration

ROOT = pathlib.Path(__file__).parents[2]
SHAPE = (40, 40, 20)
# On the patient's left of a volume stored RAS; 12 · 12 · 10 voxels of 27 mm³ are 39 mL.
SPLEEN = np.s_[4:16, 10:22, 5:15]
ELSEWHERE = np.s_[24:36, 20:32, 5:15]
NOTHING = np.s_[:0, :0, :0]


class Finder:
    """A member that finds one block, whatever it is shown."""

    threshold = 0.5

    def __init__(self, block_ijk, modality="MR"):
        self.block_ijk = block_ijk
        self.info = {"plane": "axial", "modality": modality}

    def add_probability(self, total_ijk, vote, image, weight, view, bar):
        total_ijk[self.block_ijk] += weight
        if vote is not None:
            mask_ijk = np.zeros(image.shape, bool)
            mask_ijk[self.block_ijk] = True
            vote.add(0, planes.split(mask_ijk, image.affine, self.info["plane"]))

    def window(self, image):
        return 0.0, 1.0

    def sampled_ml(self, image, mirror_axis=None):
        return 0.0


@pytest.fixture
def image(make_affine):
    many_values = np.linspace(0, 1, math.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    return Volume(many_values, make_affine("RAS", (3.0, 3.0, 3.0)), "a.nii")


def opinion(*blocks, modality="MR"):
    return [Finder(block, modality) for block in blocks]


def never():
    raise AssertionError("nobody was to be asked")


def test_members_that_agree_are_believed_without_a_second_opinion(image):
    first = opinion(SPLEEN, SPLEEN)
    found = prediction.segment(image, first, second_opinion=never)
    assert found.mask_ijk[SPLEEN].all()
    assert found.measured["voxels"] == 1440
    assert found.members is first
    assert found.reasons == []


@pytest.mark.parametrize("blocks", [(SPLEEN, ELSEWHERE), (NOTHING, NOTHING), (SPLEEN, NOTHING)])
def test_a_second_opinion_is_asked_where_members_do_not_agree_and_says_so(image, blocks):
    second = opinion(SPLEEN, SPLEEN, SPLEEN)
    kept = []
    found = prediction.segment(
        image, opinion(*blocks), second_opinion=lambda: second, keep=kept.append
    )
    assert found.members is second
    assert found.measured["voxels"] == 1440
    assert found.signs["agreement"] == 1
    assert [reason for reason in found.reasons if reason.startswith("a second opinion")]
    # What is kept last is what the mask was made of.
    assert np.array_equal(kept[-1] >= 0.5, found.mask_ijk)


@pytest.fixture
def known():
    """A calibration that expects a Dice of 0.9 of whatever it is shown."""
    return Calibration(2, (0.5, 0.1), ("certainty",), (0.0,), 0.9, 0.5, 0.8)


def test_what_is_known_of_the_first_models_says_nothing_of_a_second_opinion(image, known):
    first, second = opinion(SPLEEN, SPLEEN), opinion(SPLEEN, SPLEEN)
    found = prediction.segment(image, first, known=known, second_opinion=lambda: second)
    assert found.predicted_dice == 0.9
    disputed = opinion(SPLEEN, ELSEWHERE)
    found = prediction.segment(image, disputed, known=known, second_opinion=lambda: second)
    assert found.members is second
    assert found.predicted_dice is None
    assert found.predicted_dice_interval is None


def test_that_a_second_opinion_could_be_asked_hides_no_reason(image):
    """Blocks of 7 and 5 slices: 58% are in one piece, and no calibration weighs that."""
    parted = opinion(np.s_[4:16, 10:22, [*range(2, 9), *range(12, 17)]])
    alone = prediction.segment(image, parted)
    assert "only 58% of what was found lies in one piece, and the rest was dropped" in alone.reasons
    found = prediction.segment(image, parted, second_opinion=never)
    assert found.reasons == alone.reasons


def test_a_second_opinion_that_does_not_agree_with_itself_is_not_believed(image):
    first = opinion(SPLEEN, ELSEWHERE)
    kept = []
    found = prediction.segment(
        image, first, second_opinion=lambda: opinion(SPLEEN, ELSEWHERE), keep=kept.append
    )
    assert found.members is first
    assert not [reason for reason in found.reasons if "second opinion" in reason]
    assert len(kept) == 1


def test_models_that_do_not_agree_ask_for_a_review_whatever_else_is_known(image, known):
    """Two find the same and a third something else: what is above the threshold is in one piece."""
    disputed = opinion(SPLEEN, SPLEEN, ELSEWHERE)
    why = "do not agree on a spleen: a mean Dice of 0.33 between two of them"
    for about in ({"with_signs": True}, {"known": known}):
        (reason,) = prediction.segment(image, disputed, **about).reasons
        assert reason.endswith(why)


def test_no_second_opinion_is_asked_on_a_volume_that_is_not_for_these_models(make_affine):
    affine = make_affine("RAS", (3.0, 3.0, 3.0))
    image = Volume(np.ones(SHAPE, np.float32), affine, "a.nii", modality="CT")
    found = prediction.segment(image, opinion(NOTHING), second_opinion=never)
    assert "the model is for MR, and the header says CT" in found.reasons


def test_disputed_is_what_nobody_finds_or_each_finds_elsewhere():
    assert evidence.is_disputed(None)
    assert evidence.is_disputed({"agreement": 0.49})
    assert not evidence.is_disputed({"agreement": 0.5})


def test_the_example_of_readme_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    case = generate.make(7, "MR", 96)
    nifti.write(tmp_path / "scan.nii.gz", case.image)
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert re.match(r"\d+\.\d+ \[", printed)
    mask = nifti.read(tmp_path / "data" / "out.nii.gz")
    assert mask.shape == case.image.shape
    assert np.count_nonzero(mask.array_ijk) * mask.voxel_mm3 / 1000 == pytest.approx(
        float(printed.split()[0])
    )
