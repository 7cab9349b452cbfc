"""Any open_clip model, from a pretrained tag or local files, as the labeler needs it."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clasp_mm.utils.files import read_json
from clasp_mm.utils.names import did_you_mean, near_names

from .transfer import upload

_OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
_OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


def state_digest(module: nn.Module) -> str:
    """Short hash of all parameters and buffers, whatever file they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


@dataclass
class CLIPModel:
    """A frozen CLIP with what its inputs need.

    Args:
        model: Has ``encode_image`` (B, 3, H, W) -> (B, E) and ``encode_text`` (T, N) -> (T, E).
        tokenizer: Texts to token ids.
        size: (H, W) of the image input.
        mean: Per RGB channel, of images in [0, 1].
        std: Per RGB channel.
        identity: Name and hash of the weights, recorded in stores.
    """

    model: nn.Module
    tokenizer: Callable[[Sequence[str]], Tensor]
    size: tuple[int, int]
    identity: str
    mean: tuple[float, ...] = _OPENAI_MEAN
    std: tuple[float, ...] = _OPENAI_STD

    @property
    def logit_scale(self) -> float:
        """The model's own factor from cosine to logit; 100 for OpenAI's and LAION's models."""
        return float(self.model.logit_scale.detach().exp())

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def encode_images(self, images: Tensor) -> Tensor:
        """Unit embeddings (B, E) of images (B, 3, H, W) in [0, 1], RGB, of the model's size."""
        mean, std = (upload(np.asarray(values, np.float32), images.device)[:, None, None]
                     for values in (self.mean, self.std))
        return F.normalize(self.model.encode_image((images - mean) / std).float(), dim=-1)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """One unit embedding (E,) for texts that mean the same: their normalised mean."""
        tokens = self.tokenizer(list(texts)).to(self.device)
        embeddings = F.normalize(self.model.encode_text(tokens).float(), dim=-1)
        return F.normalize(embeddings.mean(dim=0), dim=-1)


def build_clip(name: str = 'ViT-B-32', pretrained: str | None = 'openai',
               device: str | torch.device = 'cpu') -> CLIPModel:
    """Build an open_clip model for labelling.

    Args:
        name: A model name of open_clip; ``local-dir:DIR`` or ``hf-hub:ORG/REPO`` as open_clip
            knows them; or the path of an architecture file (``*.json``).
        pretrained: A tag of open_clip or a local weights file; None for the two schemes that
            bring their own weights.
        device: Where the model lives.

    Raises:
        ImportError: If open_clip is not installed.
        ValueError: For an unknown model name or tag, with the nearest valid one.
        FileNotFoundError: If the weights are neither here nor to be had, saying what to fetch.
    """
    try:
        import open_clip
    except ImportError as error:
        raise ImportError('CLIP pseudo-labels need open_clip: pip install open_clip_torch') \
            from error
    scheme = name.partition(':')[0] if name.startswith(('local-dir:', 'hf-hub:')) else None
    if scheme and pretrained is not None:
        raise ValueError(f'{name!r} brings its own weights; pretrained must be None, '
                         f'got {pretrained!r}')
    if name.endswith('.json') and not scheme:
        name = _register_architecture(open_clip, Path(name))
    tag = {} if scheme else _check_source(open_clip, name, pretrained)
    try:
        model = open_clip.create_model(
            name, pretrained=pretrained, device=device, require_pretrained=True,
            # OpenAI's weights are for this activation; open_clip only warns of a mismatch.
            force_quick_gelu=bool(tag.get('quick_gelu')))
    except (RuntimeError, OSError, UnpicklingError) as error:
        if not (tag or scheme == 'hf-hub'):
            raise ValueError(f'cannot load CLIP {name!r} from {pretrained or name!r}: {error}') \
                from error
        raise FileNotFoundError(_how_to_fetch(name, pretrained, tag)) from error
    model.eval().requires_grad_(False)
    preprocess = open_clip.get_model_preprocess_cfg(model)
    size = preprocess.get('size', 224)
    short = Path(name.partition(':')[2]).name if scheme else name
    return CLIPModel(
        model=model, tokenizer=open_clip.get_tokenizer(name),
        size=(size, size) if isinstance(size, int) else tuple(size),
        mean=tuple(preprocess.get('mean', _OPENAI_MEAN)),
        std=tuple(preprocess.get('std', _OPENAI_STD)),
        identity=f'{short}-{state_digest(model)}')


def _register_architecture(open_clip: ModuleType, path: Path) -> str:
    """Make an architecture file known to open_clip; return the model's name."""
    if not path.is_file():
        raise FileNotFoundError(f'no CLIP architecture file at {str(path)!r}')
    spec = read_json(path)
    missing = {'embed_dim', 'vision_cfg', 'text_cfg'} - set(spec)
    if missing:
        raise ValueError(f'{str(path)!r} is no open_clip architecture: it lacks {sorted(missing)}')
    builtin = Path(open_clip.__file__).parent / 'model_configs' / path.name
    if builtin.is_file() and read_json(builtin) != spec:
        raise ValueError(f'open_clip has another model named {path.stem!r}; rename {str(path)!r}')
    open_clip.add_model_config(path)
    return path.stem


def _check_source(open_clip: ModuleType, name: str, pretrained: str | None) -> dict:
    """Check the model name and where its weights come from; the tag's facts, {} for a file."""
    models = open_clip.list_models()
    if name not in models:
        raise ValueError(f'open_clip has no model {name!r}{near_names(name, models)}; all: '
                         'open_clip.list_models(), or give an architecture file (*.json)')
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained is None:
        raise ValueError(f'labels need trained weights: give pretrained a weights file for '
                         f'{name!r} or one of open_clip\'s tags {tags}')
    if Path(pretrained).is_file():
        return {}
    tag = open_clip.get_pretrained_cfg(name, pretrained)
    if tag:
        return tag
    if Path(pretrained).suffix or '/' in pretrained:
        raise FileNotFoundError(f'no CLIP weights file at {pretrained!r}')
    raise ValueError(f'{pretrained!r} is neither a weights file nor a tag of {name!r}'
                     + (did_you_mean(pretrained, tags, 0.4) or f'; tags: {tags}'))


def _how_to_fetch(name: str, pretrained: str | None, tag: dict) -> str:
    hub = tag.get('hf_hub', '').rstrip('/') or name.partition(':')[2]
    source = f'https://huggingface.co/{hub}' if hub else tag.get('url', '')
    named = f'{name} ({pretrained})' if pretrained else name
    message = (
        f'the weights of CLIP {named} are not on this machine and could not be downloaded. Fetch '
        f'open_clip_model.safetensors (or open_clip_pytorch_model.bin) from {source} on a machine '
        'with access, copy it here, and give its path as pretrained (--clip-pretrained FILE)')
    if tag.get('quick_gelu') and not name.endswith('-quickgelu'):
        message += f'; with a file, the model\'s name is {name}-quickgelu'
    return message
