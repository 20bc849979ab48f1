"""Looks for inputs of a target that fail, by atheris: coverage of the package's code leads it.

python tests/robustness/search.py TARGET CORPUS_FOLDER -runs=N
"""

import contextlib
import pathlib
import sys
import tempfile
import warnings

import atheris

with atheris.instrument_imports(include=["spleen_tf", "pydicom", "nibabel"]):
    import fuzz_targets

from spleen_tf.core.files import InputError


def main():
    target = fuzz_targets.TARGETS[sys.argv.pop(1)]
    path = target.prepare(pathlib.Path(tempfile.mkdtemp()))
    warnings.simplefilter("ignore")

    def read(content):
        path.write_bytes(content)
        with contextlib.suppress(InputError):
            target.read(path)

    atheris.Setup(sys.argv, read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
