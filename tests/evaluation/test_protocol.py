"""Which cases a fold holds out, and what a recipe settles."""

from spleen_tf.datasets.layouts import Case
from spleen_tf.evaluation import protocol


def test_every_case_is_held_out_once_whatever_split_the_data_set_gives_it():
    listed = [Case(f"c{n}", "i.nii", "l.nii", modality="MR", split="train") for n in range(5)]
    dealt = protocol.deal(listed, seed=0, num_folds=3)
    assert list(dealt) == [0, 1, 2]
    held_out = sorted(name for splits in dealt.values() for name in splits.validation)
    assert held_out == [case.name for case in listed]
    assert protocol.deal(listed, 0, 3, "2,0") == {2: dealt[2], 0: dealt[0]}


def test_settings_are_those_of_the_flags_without_places(tmp_path):
    (tmp_path / "train.flags").write_text("# A recipe.\n--base_filters=2\n--image_size=32\n")
    flagfile = f"--flagfile={tmp_path / 'train.flags'}"
    settings = protocol.settings([flagfile, "--depth=2", "--steps=1"])
    assert (settings["base_filters"], settings["depth"]) == (2, 2)
    assert not {"records", "model_dir", "splits", "fingerprint"} & settings.keys()
    assert settings.keys() == protocol.default_settings().keys()
