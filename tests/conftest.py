"""What several test modules share lies in tests/fixtures/, by subject."""

import hypothesis

pytest_plugins = [
    "fixtures.volumes",
    "fixtures.models",
    "fixtures.programs",
    "fixtures.zygote",
    "fixtures.archives",
    "fixtures.examinations",
    "fixtures.interrupted",
]

# The same examples in every run, and no limit of time, since the machine may be busy.
hypothesis.settings.register_profile("spleen_tf", derandomize=True, deadline=None)
hypothesis.settings.load_profile("spleen_tf")
