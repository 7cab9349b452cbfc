"""How the tensors of a checkpoint cover a model's: all of them, or an error."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn

from clasp_mm.compat import load_file
from clasp_mm.utils.names import first_names


def state_faults(state: Mapping[str, Any], model: nn.Module) -> list[str]:
    """What keeps a state dict from being a model's, a text for each kind of fault."""
    own = model.state_dict()
    shapes = [f'{name} (file {list(value.shape)}, model {list(own[name].shape)})'
              for name, value in state.items()
              if name in own and isinstance(value, Tensor) and value.shape != own[name].shape]
    kinds = {'missing': [name for name in own if name not in state],
             'not in the model': [name for name in state if name not in own],
             'of another shape': shapes}
    return [f'{len(names)} {kind}: {first_names(names)}' for kind, names in kinds.items() if names]


def check_finite(state: Mapping[str, Tensor], source: object) -> None:
    """Refuse NaN and infinite values.

    Raises:
        ValueError: There are some; names source and tensors.
    """
    bad = [name for name, value in state.items() if not value.isfinite().all()]
    if bad:
        raise ValueError(f'{source} holds NaN or infinite values in {first_names(bad)}: it comes '
                         'from a run that diverged; take an earlier checkpoint')


def check_weights(model: nn.Module, checkpoint: str | Path) -> dict[str, Any]:
    """Read a checkpoint of a run and compare its weights with a model's, name by name.

    The hosts only warn where they differ, and then predict with random weights.

    Args:
        model: The model, or what MMEngine puts around it to distribute or augment.
        checkpoint: A local file.

    Returns:
        The checkpoint: ``state_dict``, and ``meta`` where there is one.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no checkpoint, or it does not fit; the message counts and names what.
    """
    content = load_file(checkpoint)
    state = content.get('state_dict') if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        raise ValueError(f'{checkpoint} is no checkpoint of a run: it has no state_dict')
    state = {name.removeprefix('module.'): value for name, value in state.items()}
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    if faults := state_faults(state, model):
        hint = 'give the config that it was trained by, which lies in its work directory'
        if all(name.startswith('backbone.') for name in state) or not any(
                name.startswith('backbone.') for name in state):
            hint = 'it holds a backbone alone; fine-tune it with clasp train first'
        raise ValueError(f'{checkpoint} does not fit {type(model).__name__}:\n  '
                         + '\n  '.join(faults) + f'\n{hint}')
    return {**content, 'state_dict': state}


def load_weights(model: nn.Module, checkpoint: str | Path) -> dict[str, Any]:
    """Load a checkpoint of a run into its model.

    Returns:
        The checkpoint's ``meta``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: See :func:`check_weights`; the model is left as it was.
    """
    content = check_weights(model, checkpoint)
    model.load_state_dict(content['state_dict'])
    return content.get('meta', {})
