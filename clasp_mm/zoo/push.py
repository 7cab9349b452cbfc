"""From a published model to a repository of the Hugging Face hub, with its card."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clasp_mm.models.weights.hub import SCHEME, WEIGHTS, reason
from clasp_mm.utils.files import read_json
from clasp_mm.utils.tables import markdown_table

from .index import TASKS
from .pages import cell
from .passport import CODE_LICENCE

REPOSITORY = re.compile(r'[\w.-]+/[\w.-]+', re.ASCII)
_DATASET = re.compile(r'[\w.-]+(?:/[\w.-]+)?', re.ASCII)  # else it is no name there, but words
_PIPELINES = {'Pose Estimation': 'keypoint-detection', 'Human Parsing': 'image-segmentation',
              'Pedestrian Detection': 'object-detection', 'Person Search': 'object-detection',
              'Attribute Recognition': 'image-classification'}


def push_model(published: str | os.PathLike, repo: str) -> str:
    """Put a published model into a repository, which is made where there is none, in one commit.

    There it is ``model.safetensors``, with its side-car ``model.json``, its config ``model.py``
    and its card ``README.md``; ``hf-hub:OWNER/NAME`` then names it.

    Args:
        published: A file of :func:`~clasp_mm.zoo.publish.publish_model`, which lies beside the
            others.
        repo: ``OWNER/NAME``. Who pushes is what huggingface_hub knows (``hf auth login``,
            ``HF_TOKEN``).

    Returns:
        The address of the repository.

    Raises:
        ConnectionError: The hub refuses, or cannot be reached.
        FileNotFoundError: The published model is not complete.
        ValueError: ``repo`` is of another form, or there is no ``.safetensors``.
    """
    if not REPOSITORY.fullmatch(repo):
        raise ValueError(f'{repo!r:.200} is no repository of the hub, which is as OWNER/NAME')
    import huggingface_hub as hub  # slow
    published = Path(published)
    meta = read_json(published.with_suffix('.json'))
    weights = next((name for name in meta['files'] if name.endswith('.safetensors')), None)
    if weights is None:
        raise ValueError(f'{published} has no .safetensors beside it: publish it with that')
    files = {WEIGHTS: published.with_name(weights)} | {
        f'{Path(WEIGHTS).stem}{suffix}': published.with_suffix(suffix)
        for suffix in ('.json', '.py')}
    operations = [hub.CommitOperationAdd(name, path) for name, path in files.items()]
    operations.append(hub.CommitOperationAdd('README.md', model_card(meta, repo).encode()))
    try:
        api = hub.HfApi()
        address = str(api.create_repo(repo, exist_ok=True))
        api.create_commit(repo, operations, commit_message=f'{meta["name"]} {meta["sha256_8"]}')
    except Exception as error:  # huggingface_hub's, or of its HTTP library, which changes
        raise ConnectionError(
            f'{hub.constants.ENDPOINT}/{repo} does not take the model ({reason(hub, error)}): log '
            f'in by `hf auth login` or HF_TOKEN as who may write there; {published} stays as it is'
        ) from error
    return address


def model_card(meta: Mapping[str, Any], repo: str) -> str:
    """The text of a model's card on the hub, from the side-car of the published model."""
    from huggingface_hub import ModelCardData
    passport, task = meta['passport'], meta['task']
    data = str(meta.get('training_data') or 'data that were not told')
    own = passport.get('data_licence') == CODE_LICENCE
    head = ModelCardData(
        license=CODE_LICENCE.lower() if own else 'other',
        license_name=None if own else 'terms-of-the-training-data',
        library_name='clasp_mm', pipeline_tag=_PIPELINES.get(task, 'image-feature-extraction'),
        tags=['human-centric', 'swin', task.lower().replace(' ', '-')],
        datasets=[data] if _DATASET.fullmatch(data) else None)
    key = next(key for key, title in TASKS.items() if title == task)
    use = [f"clasp_mm.inference('{key}', 'photos/', checkpoint='{SCHEME}{repo}')"]
    if key == 'pretrain':
        backbone = meta['backbone']
        prompts = backbone['type'].endswith('PCMoESwin') and backbone.get('moe', {}) is not None
        prompt = ", task='part'" if prompts else ''
        use = [f"model = clasp_mm.get_model('{SCHEME}{repo}'{prompt})"]
    return '\n'.join([
        '---', head.to_yaml().strip(), '---', f'# {cell(meta["name"])}', '',
        f'{cell(task)}, {meta["parameters"] / 1e6:.3g} M parameters, trained on {cell(data)}, by '
        f'clasp_mm {cell(meta["clasp_mm_version"])}.', '',
        '```python', 'import clasp_mm', *use, '```', '', '## Results', '',
        *(_results(meta['results']) or ['None were published.']), '', '## Passport', '',
        markdown_table(('of', 'is'), ((cell(name), cell(_shown(value)))
                                      for name, value in passport.items())), ''])


def _results(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows = [(cell(TASKS.get(task, task)), cell(name), cell(value))
            for task, metrics in results.items() for name, value in metrics.items()]
    return [markdown_table(('task', 'metric', 'value'), rows)] if rows else []


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ', '.join(f'{name} {one}' for name, one in value.items())
    return 'not known' if value is None else str(value)
