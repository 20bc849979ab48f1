"""A command that is interrupted at any moment, and run again, ends as if it had not been.

`make stress` kills each of them at least 20 times, `make test-slow` a few times. Signals end a
command in seconds; a full disk and a folder that may not be written to end it in one line.
"""

import dataclasses
import json
import pathlib
import random
import re
import signal
import subprocess
from collections.abc import Callable

import pytest

from spleen_tf.training.augment_config import AugmentConfig

KILLED = -9  # The exit code.
LONGEST_TO_STOP_S = 20
# What says how long a run took, or when it was.
CLOCKS = ("seconds", "peak_rss_mb")


def snapshot(folder):
    """The content of each file below a folder by its relative path, hidden ones as well."""
    return {
        str(path.relative_to(folder)): _content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _content(path):
    return _timeless(json.loads(path.read_bytes())) if path.suffix == ".json" else path.read_bytes()


def _timeless(content):
    """JSON without CLOCKS."""
    if isinstance(content, dict):
        return {key: _timeless(value) for key, value in content.items() if key not in CLOCKS}
    return [_timeless(value) for value in content] if isinstance(content, list) else content


def killed_at_random(zygote, folders, work, kills):
    """Kills a command at random times of its work, and runs it again until it ends, in new folders.

    Args:
        zygote: runs it.
        folders: makes a new folder.
        work: the command, and what it should leave.
        kills: how many.
    """
    chance, longest_s = random.Random(0), work.seconds
    while kills:
        folder = folders()
        ended = None
        while ended is None or ended.code == KILLED:
            after_s = chance.uniform(0, longest_s) if kills else None
            ended = zygote.run(*work.command(folder), after_s=after_s)
            kills -= ended.code == KILLED
            if after_s is not None and ended.seconds < after_s:  # The machine is less busy now.
                longest_s = ended.seconds
        assert ended.code == 0, ended.text
        assert work.view(folder) == work.expected


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return lambda: tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def cases(zygote, folders):
    """Three tiny synthetic cases, in the Decathlon's layout."""
    folder = folders() / "cases"
    flags = ("--num_cases=3", "--max_size=32", "--workers=1")
    assert zygote.run("tools/make_phantom.py", f"--output_dir={folder}", *flags).code == 0
    return folder


def conversion(cases, workers=1):
    flags = ("--plane=axial", "--num_shards=2", f"--workers={workers}")
    return lambda folder: (
        *("tools/make_tfrecords.py", f"--dataset={cases}", f"--output_dir={folder / 'records'}"),
        *flags,
    )


@pytest.fixture(scope="module")
def records(zygote, cases, folders):
    folder = folders()
    assert zygote.run(*conversion(cases)(folder)).code == 0
    return folder / "records"


# Of the augmentations, one that draws random numbers: to trace all takes half a minute.
RECIPE = (
    *("--image_size=32", "--base_filters=2", "--depth=1", "--batch_size=2", "--precision=float32"),
    *("--steps_per_epoch=2", "--steps=8", "--deterministic", "--dropout=0.3"),
    *(
        f"--augment_{field.name}=0"
        for field in dataclasses.fields(AugmentConfig)
        if field.name != "noise"
    ),
)


def training(records):
    flags = (f"--records={records}", *RECIPE)
    return lambda folder: ("spleen_tf.train", f"--model_dir={folder / 'model'}", *flags)


@pytest.fixture(scope="module")
def model(zygote, records, folders):
    """A training of four epochs that nothing disturbed."""
    folder = folders()
    ended = zygote.run(*training(records)(folder))
    assert ended.code == 0, ended.text
    return folder / "model"


def export(model_dir):
    return lambda folder: (
        *("spleen_tf.export", f"--model_dir={model_dir}", "--name=tiny"),
        f"--export_dir={folder / 'saved_model'}",
    )


@pytest.fixture(scope="module")
def exported(zygote, model, folders):
    folder = folders()
    ended = zygote.run(*export(model)(folder))
    assert ended.code == 0, ended.text
    return folder / "saved_model"


def prediction(exported, cases):
    flags = (f"--model={exported}", f"--input={cases / 'imagesTr'}", "--runtime=onnx")
    return lambda folder: ("spleen_tf.predict", *flags, f"--output={folder / 'masks'}")


def evaluation(cases):
    labels = cases / "labelsTr"

    def command(folder):
        results = folder / "results"
        flags = (f"--predictions={labels}", f"--labels={labels}", f"--output_dir={results}")
        return "spleen_tf.evaluate", *flags, f"--report={results / 'report.html'}"

    return command


def cross_validation(cases, folder):
    """Two folds in one plane, of trainings of two epochs."""
    recipe = folder / "train.flags"
    recipe.write_text("\n".join((*RECIPE, "--steps=4")))
    flags = (f"--dataset={cases}", f"--flagfile={recipe}", "--planes=axial", "--num_folds=2")
    return lambda folder: (*("tools/cross_validate.py", *flags, f"--output_dir={folder / 'cv'}"),)


def trained(folder):
    """What a training leaves, but for its log, TensorBoard's files and the time that it took.

    A row of the log is lost where a kill comes between an epoch's checkpoint and its row.
    """
    import h5py
    import tensorflow as tf

    model_dir = folder / "model"
    reader = tf.train.load_checkpoint(str(model_dir / "checkpoints"))
    names = (n for n in reader.get_variable_to_shape_map() if "OBJECT_GRAPH" not in n)
    held = {name: reader.get_tensor(name) for name in names if "state/seconds" not in name}
    with h5py.File(model_dir / "best.weights.h5") as weights:
        weights.visititems(
            lambda name, item: held.update({name: item[()]}) if hasattr(item, "dtype") else None
        )
    files = [path for path in model_dir.rglob("*") if path.is_file()]
    names = sorted(str(path.relative_to(model_dir)) for path in files)
    return {
        "files": [name for name in names if not name.startswith("tensorboard")],
        **{name: (str(value.dtype), value.tobytes()) for name, value in held.items()},
    }


def measured(folder):
    """The results of a cross-validation, and what lies beside them."""
    names = ("cv.json", "cases.csv", "results.md")
    return {
        "beside": sorted(path.name for path in (folder / "cv").iterdir()),
        **{name: (folder / "cv" / name).read_bytes() for name in names},
    }


@dataclasses.dataclass(frozen=True)
class Work:
    """A command that is killed.

    Attributes:
        command: from a new folder to the command line.
        view: from that folder to what counts of what the command has left there.
        expected: the same, of a run that nothing disturbed.
        seconds: that this run took.
    """

    command: Callable[[pathlib.Path], tuple[str, ...]]
    view: Callable[[pathlib.Path], dict[str, object]]
    expected: dict[str, object]
    seconds: float


@pytest.fixture(scope="module")
def work(zygote, folders):
    """A function that runs a command undisturbed, and returns it as Work."""

    def undisturbed(command, view=snapshot):
        folder = folders()
        ended = zygote.run(*command(folder))
        assert ended.code == 0, ended.text
        return Work(command, view, view(folder), ended.seconds)

    return undisturbed


KILLS = [
    pytest.param(2, marks=pytest.mark.slow),
    pytest.param(20, marks=pytest.mark.stress),
]


@pytest.mark.parametrize("kills", KILLS)
def test_killed_conversions(zygote, folders, work, cases, kills):
    killed_at_random(zygote, folders, work(conversion(cases)), kills)


@pytest.mark.stress
def test_killed_conversions_with_workers(zygote, folders, work, cases):
    killed_at_random(zygote, folders, work(conversion(cases, workers=2)), 5)


@pytest.mark.parametrize("kills", KILLS)
def test_killed_trainings(zygote, folders, work, records, kills):
    killed_at_random(zygote, folders, work(training(records), trained), kills)


@pytest.mark.parametrize("kills", KILLS)
def test_killed_exports(zygote, folders, work, model, kills):
    killed_at_random(zygote, folders, work(export(model)), kills)


@pytest.mark.parametrize("kills", KILLS)
def test_killed_predictions(zygote, folders, work, exported, cases, kills):
    killed_at_random(zygote, folders, work(prediction(exported, cases)), kills)


@pytest.mark.parametrize("kills", KILLS)
def test_killed_evaluations(zygote, folders, work, cases, kills):
    killed_at_random(zygote, folders, work(evaluation(cases)), kills)


@pytest.mark.stress
def test_killed_cross_validations(zygote, folders, work, cases):
    killed_at_random(zygote, folders, work(cross_validation(cases, folders()), measured), 20)


STOPS = [
    pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
    pytest.param(signal.SIGINT, marks=pytest.mark.stress),
]


def stopped(zygote, folders, work, signum, to_group=False):
    """Stops a command in the middle, as Ctrl-C or a queue does, and runs it again."""
    for share in (0.6, 0.3, 0.15, 0.05):  # The machine may be less busy than before.
        folder, after_s = folders(), share * work.seconds
        ended = zygote.run(*work.command(folder), after_s=after_s, signum=signum, to_group=to_group)
        if ended.code:
            break
    assert ended.code == 128 + signum, ended.text
    assert ended.seconds_to_stop < LONGEST_TO_STOP_S
    assert ended.text.splitlines()[-1] == f"error: stopped by {signum.name}"
    assert "Traceback" not in ended.text
    again = zygote.run(*work.command(folder))
    assert again.code == 0, again.text
    assert work.view(folder) == work.expected


@pytest.mark.parametrize("signum", STOPS)
def test_a_training_that_is_stopped(zygote, folders, work, records, signum):
    stopped(zygote, folders, work(training(records), trained), signum)


@pytest.mark.parametrize("signum", STOPS)
def test_a_prediction_that_is_stopped(zygote, folders, work, exported, cases, signum):
    stopped(zygote, folders, work(prediction(exported, cases)), signum)


@pytest.mark.stress
def test_a_conversion_whose_terminal_stops_it_and_its_workers(zygote, folders, work, cases):
    stopped(zygote, folders, work(conversion(cases, 2)), signal.SIGINT, to_group=True)


@pytest.mark.stress
def test_a_cross_validation_that_is_stopped(zygote, folders, work, cases):
    stopped(zygote, folders, work(cross_validation(cases, folders()), measured), signal.SIGTERM)


@pytest.fixture
def disk(tmp_path):
    """A function that makes a file system in memory of some size, or changes it; its folder."""
    place = tmp_path / "disk"
    place.mkdir()

    def sized(options):
        is_there = place.is_mount()
        what = ["-o", f"remount,{options}"] if is_there else ["-t", "tmpfs", "-o", options, "tmpfs"]
        done = subprocess.run(["mount", *what, place], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system may be mounted here: {done.stderr.decode().strip()}")
        return place

    yield sized
    if place.is_mount():
        subprocess.run(["umount", place], check=True)


@pytest.fixture
def interrupted(request, zygote, cases, folders):
    """By name, a command and what counts of what it leaves."""
    name = request.param
    if name == "convert":
        return conversion(cases), snapshot
    if name == "evaluate":
        return evaluation(cases), snapshot
    if name == "predict":
        return prediction(request.getfixturevalue("exported"), cases), snapshot
    if name == "train":
        return training(request.getfixturevalue("records")), trained
    return export(request.getfixturevalue("model")), snapshot


COMMANDS = [
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("convert", "predict", "evaluate")),
    *(pytest.param(name, marks=pytest.mark.stress) for name in ("train", "export")),
]


def one_line(ended):
    """The one line that says why a command failed."""
    lines = [line for line in ended.text.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in ended.text
    return lines[0]


@pytest.mark.parametrize("interrupted", COMMANDS, indirect=True)
def test_a_full_disk(zygote, work, disk, interrupted):
    command, view = interrupted
    expected = work(command, view).expected
    place = disk("size=16k")
    ended = zygote.run(*command(place))
    assert ended.code in (1, 2), ended.text
    assert re.search("No space left|expected .* MB of room on the disk", one_line(ended))
    again = zygote.run(*command(disk("size=64m")))
    assert again.code == 0, again.text
    assert view(place) == expected


@pytest.mark.parametrize("interrupted", COMMANDS, indirect=True)
def test_a_folder_that_may_only_be_read(zygote, work, disk, interrupted):
    command, view = interrupted
    expected = work(command, view).expected
    place = disk("size=64m")
    assert zygote.run(*command(place)).code == 0
    disk("ro")
    ended = zygote.run(*command(place))
    if "trained to the end already" not in ended.text:
        assert ended.code in (1, 2), ended.text
        assert re.search(
            "Read-only file system|permission denied|cannot be written to", one_line(ended)
        )
    assert view(place) == expected
