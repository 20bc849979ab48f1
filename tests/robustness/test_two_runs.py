"""A second run that would write to the same place is refused before it changes anything."""

import json
import pathlib

import fuzz_targets
import pytest

from spleen_tf import compare, evaluate, explore, export, train
from spleen_tf.core import locks
from spleen_tf.core.files import InputError
from spleen_tf.datasets import cases, convert
from spleen_tf.datasets.splits import make_splits
from spleen_tf.evaluation import crossval, protocol
from spleen_tf.evaluation.protocol import Protocol, Setup
from spleen_tf.jobs.config import PredictConfig
from spleen_tf.jobs.job import Job
from spleen_tf.jobs.segmenter import Segmenter

ROOT = pathlib.Path(__file__).resolve().parents[2]
REFUSAL = r"out: expected no other run that writes to it, found one at work \(process \d+\); wait"


@pytest.fixture
def data(make_dataset, tmp_path):
    return make_dataset(tmp_path / "data", "ab")


@pytest.fixture
def out(tmp_path):
    """A folder that another run holds: as seen by its lock, it is of another process."""
    folder = tmp_path / "out"
    folder.mkdir()
    with locks.folder(folder):
        yield folder


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_second_conversion(data, out):
    listed = cases.load(data)
    with pytest.raises(InputError, match=REFUSAL):
        convert.convert(listed, make_splits(listed, 0, 0, 2), out, convert.Options())
    assert names_in(out) == [".lock"]


@pytest.mark.slow
def test_a_second_training(quick_training, out):
    with pytest.raises(InputError, match=REFUSAL):
        train.main(quick_training(model_dir=str(out), steps=1))
    assert names_in(out) == [".lock"]


def test_a_second_export(tmp_path):
    place = tmp_path / "out"
    model_dir = tmp_path / "model"
    model_dir.mkdir()
    (model_dir / "training.json").write_text(json.dumps(fuzz_targets.TRAINING))
    (model_dir / "best.weights.h5").touch()
    with locks.output(place), pytest.raises(InputError, match=REFUSAL):
        export.main(export.ExportConfig(model_dir=str(model_dir), export_dir=str(place)))
    assert names_in(tmp_path) == ["model"]


def test_a_second_prediction_of_the_same_volume(data, tmp_path):
    mask = tmp_path / "out"
    segmenter = Segmenter(PredictConfig(model=(str(ROOT / "models" / "spleen_ct"),)))
    with locks.output(mask), pytest.raises(InputError, match=REFUSAL):
        segmenter.segment(Job(data / "imagesTr" / "a.nii.gz", mask))
    assert names_in(tmp_path) == ["data"]


def test_a_second_evaluation(data, out):
    labels = str(data / "labelsTr")
    with pytest.raises(InputError, match=REFUSAL):
        evaluate.main(evaluate.EvaluateConfig(labels, labels, str(out)))
    assert names_in(out) == [".lock"]


def test_a_second_exploration(data, out):
    with pytest.raises(InputError, match=REFUSAL):
        explore.main(explore.ExploreConfig(str(data), str(out)))
    assert names_in(out) == [".lock"]


def test_a_second_comparison(data, out):
    mask = str(data / "labelsTr" / "a.nii.gz")
    with pytest.raises(InputError, match=REFUSAL):
        compare.main(compare.CompareConfig(mask, mask, str(out)))
    assert names_in(out) == [".lock"]


def test_a_second_cross_validation(data, out):
    listed = cases.load(data)
    recipe = ["--steps=1"]
    settings = protocol.settings(recipe)
    setup = Setup(
        output=out,
        dataset="data",
        cases=listed,
        extra_cases=(),
        folds=protocol.deal(listed, seed=0, num_folds=2),
        recipes={"axial": recipe},
        protocol=Protocol(num_folds=2, seed=0, recipes={"axial": settings}),
    )
    with pytest.raises(InputError, match=REFUSAL):
        crossval.run(setup)
    assert names_in(out) == [".lock"]
