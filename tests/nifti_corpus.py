"""Every field of a small NIfTI file's header, set to values that it should not have."""

import dataclasses
import math
from collections.abc import Iterator

import nibabel as nib
import numpy as np

KINDS = {"NIfTI-1": nib.Nifti1Image, "NIfTI-2": nib.Nifti2Image}
# Which codes are set: the sform rules, else the qform, else the voxel sizes.
FORMS = {"both": (1, 1), "sform": (1, 0), "qform": (0, 1), "none": (0, 0)}


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A file with one element of one header field changed."""

    kind: str
    forms: str
    field: str
    index: int
    change: str
    content: bytes

    def __str__(self) -> str:
        return f"{self.kind}, {self.forms}: {self.field}[{self.index}] {self.change}"


def mutants() -> Iterator[Mutant]:
    """All of them, in a steady order."""
    for kind in KINDS:
        for forms in FORMS:
            content = sound(kind, forms)
            for field, index, dtype, offset in _elements(KINDS[kind].header_class):
                stored = np.frombuffer(content, dtype, 1, offset)[0]
                for change, value in _changes(stored, dtype):
                    mutated = bytearray(content)
                    mutated[offset : offset + dtype.itemsize] = np.array(value, dtype).tobytes()
                    if mutated != content:
                        yield Mutant(kind, forms, field, index, change, bytes(mutated))


def sound(kind: str, forms: str) -> bytes:
    """An oblique file of 4×3×5 int16 voxels that are all different."""
    angle = math.radians(10)
    rotation = np.array(
        [[-1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation * (0.75, 0.5, 5)
    affine[:3, 3] = (90, -40, 700)
    image = KINDS[kind](np.arange(60, dtype=np.int16).reshape(4, 3, 5), affine)
    sform_code, qform_code = FORMS[forms]
    image.set_sform(affine, sform_code)
    image.set_qform(affine, qform_code)
    image.header["pixdim"][1:4] = (0.75, 0.5, 5)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(2, -30)
    return image.to_bytes()


def _elements(header: type) -> Iterator[tuple[str, int, np.dtype, int]]:
    """Field, index, dtype and place in the file of each number or text of a header."""
    for name in header.template_dtype.names:
        dtype, start = header.template_dtype.fields[name][:2]
        element, shape = dtype.subdtype or (dtype, ())
        for index in range(math.prod(shape)):
            yield name, index, element, start + index * element.itemsize


def _changes(stored, dtype: np.dtype) -> list[tuple[str, object]]:
    if dtype.kind == "S":
        return [("absent", b""), ("wrong", b"\xff" * dtype.itemsize)]
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = {"zero": 0, "negative": -int(stored) or -1, "wrong by 1": int(stored) + 1}
        values |= {"wrong by a lot": 10 * int(stored) + 100, "largest": int(limits.max)}
        return [(name, int(np.clip(v, limits.min, limits.max))) for name, v in values.items()]
    values = {"zero": 0.0, "negative": -stored or -1.0, "NaN": np.nan, "infinite": np.inf}
    values |= {"wrong by a little": stored * 1.0001 + 1e-4, "wrong by a lot": 10 * stored + 100}
    return list(values.items())
