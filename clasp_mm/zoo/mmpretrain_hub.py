"""The model zoo inside mmpretrain's."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader

from clasp_mm.models.weights.mmengine_reader import SCHEME, load_from_clasp_mm

from .config import entry_config, is_own
from .index import TASKS, read_zoo


def register_with_mmpretrain() -> list[str]:
    """Add the zoo's models that mmpretrain can build to its ``list_models`` and ``get_model``.

    A pretrained model is there an ``ImageClassifier`` without a head: its ``extract_feat`` gives
    the backbone's maps, under the prompt named by ``backbone=dict(task='part')``. Weights are
    fetched and checked when they are asked for. May be called again, as after a change of
    ``CLASP_ZOO``.

    Returns:
        The names.

    Raises:
        ValueError: A metafile is wrong.

    Example:
        >>> names = register_with_mmpretrain()
        >>> 'clasp_pcmoe-swin-nano_1xb32_synthetic-64x32' in names
        True
    """
    from mmpretrain.apis.model import Model, ModelHub
    CheckpointLoader.register_scheme(SCHEME, load_from_clasp_mm, force=True)
    entries = {name: entry for name, entry in read_zoo().items()
               if entry['Metadata']['Host'] == 'mmpretrain'}
    for name, entry in entries.items():
        model = Model.from_dict({**entry, 'Metadata': dict(entry['Metadata'])}, '')
        if entry['Metadata']['Task'] == TASKS['pretrain']:
            model.config = _classifier(entry_config(entry).model)
        elif not is_own(entry):  # mmpretrain runs a file that it is given
            model.config = entry_config(entry)
        if entry.get('Weights'):
            model.weights = SCHEME + entry['Weights']
        # its register_model_index takes whole indexes only, with models of other libraries
        ModelHub._models_dict[name.lower()] = model
    return sorted(entries)


def _classifier(model: Mapping[str, Any]) -> Config:
    preprocessor = {key: model['data_preprocessor'][key] for key in ('mean', 'std', 'to_rgb')
                    if key in model['data_preprocessor']}
    return Config(dict(model=dict(
        type='mmpretrain.ImageClassifier', backbone=dict(model['backbone'], init_cfg=None),
        data_preprocessor=preprocessor)))
