"""Networks of MONAI's that are trained in an interpreter of their own, by tools/compare_monai.py.

`fold` runs in this project's interpreter; `program`, `recipe`, `axial_2d` and `tutorial_3d` in the
one that has PyTorch and MONAI. `exchange` and `schedule` import neither, and belong to both.
"""
