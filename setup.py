"""Packaging: what the project needs, loosely, and the released models that a wheel brings along.

The exact versions stand in requirements.lock and requirements-predict.lock.
"""

import ast
import pathlib
import re
import shutil

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = pathlib.Path(__file__).parent

# What predict, evaluate, explore and the reports need, on CPython 3.11 to 3.13.
PREDICTION = [
    "absl-py>=2.0",
    "connected-components-3d>=3.12",
    "highdicom>=0.27",
    "isal>=1.7",
    "jinja2>=3.1",
    "matplotlib>=3.8",
    "msgspec>=0.19",
    "nibabel>=5.2",
    "numpy>=1.26",
    "onnxruntime>=1.19",
    "pillow>=10",
    "plotly>=6",
    "pydicom>=3",
    "pylibjpeg[openjpeg,rle]>=2",
    "pynrrd>=1.1",
    "python-gdcm>=3.0.24",
    "scikit-image>=0.22",
    "scipy>=1.15",
    "tqdm>=4.66",
]

# What train and export need beside it.
TRAINING = [
    "tensorflow==2.15.1",
    "keras==2.15.0",
    "tensorflow-addons==0.23.0",
    "numpy<2",
    # They write model.onnx. Later ones of onnx need a newer ml_dtypes than TensorFlow 2.15 has.
    "onnx==1.17.0",
    "tf2onnx==1.17.0",
    # TensorBoard 2.15 imports pkg_resources, which later releases no longer hold.
    "setuptools>=69,<81",
]

# Where TensorFlow 2.15 and TensorFlow Addons both have wheels.
CAN_TRAIN = (
    'python_version == "3.11" and (sys_platform == "linux" and platform_machine == "x86_64"'
    ' or sys_platform == "darwin" and platform_machine == "arm64")'
)

# Archives: sending by C-STORE, reading by DICOMweb.
NODE = ["dicomweb-client>=0.60", "pynetdicom>=3"]

# Conversion and prediction on a cluster, over files in object stores.
BEAM = ["apache-beam[dask]>=2.60", "fsspec>=2024.6", "gcsfs>=2024.6", "s3fs>=2024.6"]

# The requests of TensorFlow Serving.
SERVING = [f"tensorflow-serving-api==2.15.1; {CAN_TRAIN}"]

DEVELOPMENT = [
    # Later ones have no wheels for CPython 3.11.
    'atheris>=3,<3.1; sys_platform == "linux" and platform_machine == "x86_64"',
    "bids-validator-deno>=2.4",
    "dcm2niix>=1.0.20240202",
    "dicom-validator>=0.8",
    "hypothesis>=6.100",
    "import-linter>=2.1",
    "mypy>=1.8",
    "pip-audit>=2.7",
    "pytest>=8",
    "pytest-cov>=5",
    "pytest-xdist>=3.5",
    "ruff>=0.4",
    "selenium>=4.20",
    "SimpleITK>=2.3",
    "slicerio>=1.2",
    "tensorflow-datasets>=4.9,<4.10",
    # Later ones need protobuf 5; TensorFlow 2.15 needs protobuf 4.
    "tensorflow-metadata<1.17",
]


def version() -> str:
    """The version, read as text: importing the package would need its dependencies."""
    text = (ROOT / "spleen_tf" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)[1]


def released_families() -> set[str]:
    """The names of the released families, read as text for the same reason."""
    source = ROOT / "spleen_tf" / "inference" / "released.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and node.target.id == "FAMILIES":
            return {name for names in ast.literal_eval(node.value).values() for name in names}
    raise ValueError(f"{source}: expected FAMILIES, found none.")


def files_of(family: pathlib.Path) -> list[pathlib.Path]:
    """What a wheel has of a family: its card, what was measured of it, and its models.

    Of a model these are model.json and model.onnx. The SavedModel holds the same weights again,
    which would double the wheel: it goes along only where there is no model.onnx.
    """
    names = ("MODEL_CARD.md", "quality.json", "cv.json")
    files = [path for name in names for path in family.glob(name)]
    for saved_model in family.rglob("saved_model"):
        onnx = saved_model.parent / "model.onnx"
        if onnx.is_file():
            files += [onnx, saved_model / "assets.extra" / "model.json"]
        else:
            files += (path for path in saved_model.rglob("*") if path.is_file())
    return files


class BuildWithModels(build_py):
    """Puts the released families into the package, as spleen_tf/_models."""

    def run(self) -> None:
        """Copies what a wheel has of them; an editable installation has those of the checkout."""
        super().run()
        if self.editable_mode:
            return
        models = ROOT / "models"
        packed = pathlib.Path(self.build_lib) / "spleen_tf" / "_models"
        shutil.rmtree(packed, ignore_errors=True)  # Of an earlier build.
        for family in released_families():
            for file in files_of(models / family):
                place = packed / file.relative_to(models)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, place)


setup(
    name="spleen_tf",
    version=version(),
    description="Spleen segmentation in abdominal CT and MR volumes with TensorFlow",
    author="The spleen_tf authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["spleen_tf", "spleen_tf.*"]),
    package_data={"spleen_tf": ["py.typed"], "spleen_tf.reporting": ["assets/*", "templates/*"]},
    install_requires=[*PREDICTION, *(f"{name}; {CAN_TRAIN}" for name in TRAINING)],
    extras_require={
        "gpu": ["tensorflow[and-cuda]==2.15.1"],
        "openvino": ["openvino>=2024.4"],
        # GPL-3: decodes the JPEG kinds that GDCM does not.
        "jpeg": ["pylibjpeg-libjpeg>=2"],
        # Registers the images of two examinations.
        "registration": ["SimpleITK>=2.3"],
        "node": NODE,
        "beam": BEAM,
        "serving": SERVING,
        "dev": [*DEVELOPMENT, *NODE, *SERVING],
        # The other development tools, for requirements-beam.lock.
        "beam-dev": [*BEAM, "moto[server]>=5"],
    },
    cmdclass={"build_py": BuildWithModels},
    entry_points={"console_scripts": ["spleen-tf = spleen_tf.__main__:main"]},
)
