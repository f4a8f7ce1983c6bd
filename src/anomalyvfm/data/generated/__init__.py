"""Procedurally generated products in the layout of MVTec AD 2: no download, exact masks, any size.

Three kinds of product: aligned parts (can, blister, gear), where position matters; layouts (fabric,
grains, circuit_board), where any structure may appear anywhere; and homogeneous textures (sheet_metal,
foam), where some defects change the statistics of the whole image.
"""

from anomalyvfm.data.generated.dataset import CONDITIONS, generate
from anomalyvfm.data.generated.draw import CATEGORIES, DEFECTS, draw_bad, draw_good

__all__ = ["CATEGORIES", "CONDITIONS", "DEFECTS", "draw_bad", "draw_good", "generate"]
