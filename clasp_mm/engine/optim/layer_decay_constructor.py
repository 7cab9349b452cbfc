"""Layer-wise learning-rate decay for a PCMoESwin inside any model."""

import torch
from mmengine.logging import print_log
from torch import nn

from clasp_mm.models import PCMoESwin
from clasp_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS

from .trainable_constructor import TrainableOptimWrapperConstructor, merge_groups, settings_key

_SPARED = ('.relative_position_bias_table', '.moe.prompts')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(TrainableOptimWrapperConstructor):
    """Optimizer groups whose learning rate falls from the head down to the stem.

    A parameter of depth d of N has the learning rate ``lr * decay_rate ** (N - 1 - d)`` (Clark et
    al., arXiv 2003.10555; BEiT, arXiv 2106.08254). Depths are those of
    :meth:`PCMoESwin.get_layer_depth`, wherever in the model the backbone is: 0 for the patch
    embedding, then block by block; PC-MoE, prompts, gates and patch merging with the last block of
    their stage; N - 1 for the output norms and all that is not the backbone.

    Norms, biases and all other vectors, relative-position tables and prompts have no weight decay,
    so that prompts of other tasks stay as they are. Parameters without gradient are left out. The
    groups are logged as a table.

    Args:
        optim_wrapper_cfg: See MMEngine's DefaultOptimWrapperConstructor.
        paramwise_cfg: ``decay_rate``, in (0, 1], and MMEngine's own keys, whose factors multiply
            the learning rate of the layer. What has no weight decay gets one only by a
            ``decay_mult`` in ``custom_keys``.

    Raises:
        ValueError: If there is no such decay rate, or the model has no PCMoESwin.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        rate = (paramwise_cfg or {}).get('decay_rate')
        if rate is None or not 0 < rate <= 1:
            raise ValueError(f'optim_wrapper.paramwise_cfg.decay_rate={rate!r} must lie in (0, 1]; '
                             '1 is no decay, 0.9 usual for a Swin-B')
        self.decay_rate = rate
        super().__init__(optim_wrapper_cfg, paramwise_cfg)

    def group(self, params: list[dict], model: nn.Module) -> list[dict]:
        """One group for all parameters of equal layer and settings, from one per parameter."""
        backbones = [(f'{name}.' if name else '', module) for name, module in model.named_modules()
                     if isinstance(module, PCMoESwin)]
        if not backbones:
            raise ValueError(f'{type(model).__name__} has no clasp_mm.PCMoESwin to decay the '
                             'learning rate of')
        names = {parameter: name for name, parameter in model.named_parameters()}
        keys = []
        for settings in params:
            (parameter, ) = settings['params']
            name = names[parameter]
            prefix, backbone = next(
                (found for found in backbones if name.startswith(found[0])), backbones[0])
            depth, num_layers = backbone.get_layer_depth(name, prefix)
            settings['lr'] = (settings.get('lr', self.base_lr)
                              * self.decay_rate**(num_layers - 1 - depth))
            spared = parameter.dim() == 1 or name.endswith(_SPARED)
            if self.base_wd is not None:
                decay = settings.get('weight_decay', self.base_wd)
                settings['weight_decay'] = (
                    0. if spared and 'decay_mult' not in settings else decay)
            keys.append((depth, settings_key(settings)))
        groups = merge_groups(params, keys)
        ordered = sorted(groups, key=lambda key: (key[0], groups[key].get('weight_decay') or 0.))
        print_log('\n'.join([
            f'learning rates by layer (decay rate {self.decay_rate}):',
            *(_row(key[0], groups[key], [names[parameter] for parameter in groups[key]['params']])
              for key in ordered)]), logger='current')
        return [groups[key] for key in ordered]


def _row(depth: int, group: dict, names: list[str]) -> str:
    count = sum(torch.numel(parameter) for parameter in group['params'])
    return (f'  layer {depth:2d}  lr {group["lr"]:.3e}  weight decay '
            f'{group.get("weight_decay", 0):<6.3g}  {len(names):3d} tensors, {count:,} values: '
            f'{names[0]}'
            + (', ...' if len(names) > 1 else ''))
