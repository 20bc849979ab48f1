"""Packaging: what the project needs, loosely. The exact versions stand in requirements.lock."""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent

DEPENDENCIES = [
    "tensorflow==2.15.1",
    "keras==2.15.0",
    "tensorflow-addons==0.23.0",
    "numpy>=1.26,<2",
    "absl-py>=2.0",
    "connected-components-3d>=3.12",
    "highdicom>=0.27",
    "jinja2>=3.1",
    "matplotlib>=3.8",
    "msgspec>=0.19",
    "nibabel>=5.2",
    "onnxruntime>=1.19",
    "pillow>=10",
    "plotly>=6",
    "pydicom>=3",
    "pylibjpeg[openjpeg,rle]>=2",
    "python-gdcm>=3.0.24",
    "scikit-image>=0.22",
    "scipy>=1.15",
    "tqdm>=4.66",
    # They write model.onnx. Later ones of onnx need a newer ml_dtypes than TensorFlow 2.15 has.
    "onnx==1.17.0",
    "tf2onnx==1.17.0",
    # TensorBoard 2.15 imports pkg_resources, which later releases no longer hold.
    "setuptools>=69,<81",
]

DEVELOPMENT = [
    "dcm2niix>=1.0.20240202",
    "hypothesis>=6.100",
    "import-linter>=2.1",
    "mypy>=1.8",
    "pytest>=8",
    "pytest-cov>=5",
    "pytest-xdist>=3.5",
    "ruff>=0.4",
    "selenium>=4.20",
    "SimpleITK>=2.3",
    "tensorflow-datasets>=4.9,<4.10",
    # Later ones need protobuf 5; TensorFlow 2.15 needs protobuf 4.
    "tensorflow-metadata<1.17",
]


def version() -> str:
    """The version, read as text: importing the package would need its dependencies."""
    text = (ROOT / "spleen_tf" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)[1]


setup(
    name="spleen_tf",
    version=version(),
    description="Spleen segmentation in abdominal CT and MR volumes with TensorFlow",
    author="The spleen_tf authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.12",
    packages=find_packages(include=["spleen_tf", "spleen_tf.*"]),
    package_data={"spleen_tf": ["py.typed"], "spleen_tf.reporting": ["assets/*", "templates/*"]},
    install_requires=DEPENDENCIES,
    extras_require={
        "gpu": ["tensorflow[and-cuda]==2.15.1"],
        # GPL-3: decodes the JPEG kinds that GDCM does not.
        "jpeg": ["pylibjpeg-libjpeg>=2"],
        "dev": DEVELOPMENT,
    },
    entry_points={"console_scripts": ["spleen-tf = spleen_tf.__main__:main"]},
)
