"""What users call, from the rooms that have it."""

from clasp_mm.datasets.inputs import load_images
from clasp_mm.export.write import export_model
from clasp_mm.inferencers.gallery import ReIDIndex
from clasp_mm.inferencers.inferencer import Inferencer, inference
from clasp_mm.inferencers.verification import match
from clasp_mm.zoo.get_model import get_model
from clasp_mm.zoo.index import list_models
from clasp_mm.zoo.mmpretrain_hub import register_with_mmpretrain
from clasp_mm.zoo.publish import publish_model

__all__ = ['Inferencer', 'ReIDIndex', 'export_model', 'get_model', 'inference', 'list_models',
           'load_images', 'match', 'publish_model', 'register_with_mmpretrain']
