"""Options of the verbs that label images."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from clasp_mm.utils.device import computes_in_bfloat16

from . import options

if TYPE_CHECKING:
    from clasp_mm.pseudo_labels.clip_labeler import CLIPLabeler


def add_labeler_arguments(parser: argparse.ArgumentParser,
                          out: str = 'work_dirs/pseudo_labels') -> None:
    """Add what :func:`labeler_from_arguments` reads, and where the images are."""
    data = parser.add_argument_group('images')
    data.add_argument('--data-root', required=True, help='folder of the images, or of an LMDB')
    data.add_argument('--list', default='', help='file with one image name per line')
    options.add_out(data, out)
    networks = parser.add_argument_group('networks')
    networks.add_argument('--teacher', required=True,
                          help='published model or checkpoint of a pretraining; any other Swin '
                          'file (ImageNet) with --teacher-config; a config (.py), for random '
                          'weights; or "none": regions of one colour, before anything is trained')
    networks.add_argument('--teacher-config', help='config of a file that does not say its own')
    networks.add_argument('--teacher-task', choices=options.PROMPTS,
                          help='prompt of a teacher that has PC-MoE')
    options.add_semantic_weight(networks, 'teacher-')
    options.add_clip(networks)
    networks.add_argument('--vocabulary', metavar='JSON',
                          help='parts, attributes and texts (default: the built-in ones)')
    options.add_device(networks)
    networks.add_argument('--batch-size', type=int, default=64, help='images (%(default)s)')
    networks.add_argument('--clip-batch-size', type=int, default=256,
                          help='regions per CLIP forward (%(default)s)')
    networks.add_argument('--amp', nargs='?', const='bf16', choices=('none', 'bf16', 'fp16'),
                          help='mixed precision of both networks (default: bf16 on GPUs that '
                          'compute in it, else none)')
    networks.add_argument('--no-amp', dest='amp', action='store_const', const='none',
                          help='both networks in float32')
    labels = parser.add_argument_group('labels')
    labels.add_argument('--clusters', type=int, nargs='+', default=(3, 4, 5),
                        metavar='K', help='numbers of part regions %(default)s')
    labels.add_argument('--image-size', type=int, nargs=2, default=(256, 128),
                        metavar=('H', 'W'), help='every image is brought to it %(default)s')
    labels.add_argument('--scale', type=float, default=2.0,
                        help='teacher input relative to --image-size (%(default)s)')
    labels.add_argument('--stage', type=int, default=2,
                        help='stage of the teacher to cluster, 0 to 3 (%(default)s)')
    labels.add_argument('--foreground', choices=('norm', 'feature', 'centre'), default='centre',
                        help='%(default)s')
    labels.add_argument('--position-weight', type=float, default=1.5,
                        help='of a token\'s place in the part clustering (%(default)s)')
    labels.add_argument('--min-foreground', type=float, default=0.5,
                        help='share of foreground an image must exceed (%(default)s)')
    labels.add_argument('--min-person-cosine', type=float, default=0.2,
                        help='CLIP cosine with "a photo of a person" it must exceed (%(default)s)')
    labels.add_argument('--region', choices=('mask', 'crop'), default='mask',
                        help='what CLIP sees of a region (%(default)s)')
    labels.add_argument('--fit', choices=('squash', 'pad', 'centre'), default='squash',
                        help='how it becomes CLIP\'s input (%(default)s)')
    labels.add_argument('--fill', choices=('black', 'mean'), default='black',
                        help='colour of what is masked (%(default)s)')
    labels.add_argument('--logit-scale', type=float,
                        help='of the confidences (default: the CLIP model\'s own)')


def labeler_from_arguments(args: argparse.Namespace) -> CLIPLabeler:
    """The labeler that the options of :func:`add_labeler_arguments` describe."""
    from clasp_mm.datasets.transforms.clip_pseudo_labeler import build_labeler
    from clasp_mm.pseudo_labels.colour_teacher import ColourTeacher
    from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY, Vocabulary
    from clasp_mm.utils.files import read_json
    from clasp_mm.zoo.get_model import get_model
    options.check_counts(args, 'batch_size', 'clip_batch_size')
    if not 0 <= args.stage <= 3:
        raise ValueError(f'--stage must be 0 to 3, got {args.stage}')
    vocabulary = (Vocabulary.from_dict(read_json(args.vocabulary)) if args.vocabulary
                  else DEFAULT_VOCABULARY)
    if args.teacher == 'none':
        if args.teacher_config or args.teacher_task or args.teacher_semantic_weight is not None:
            raise ValueError('--teacher none has no config, no task and no semantic weight')
        teacher = ColourTeacher()
    else:
        source = dict(source=args.teacher)
        if args.teacher_config:
            source = dict(source=args.teacher_config, pretrained=args.teacher)
        if args.teacher_semantic_weight is not None:
            source['semantic_weight'] = args.teacher_semantic_weight
        teacher = get_model(**source, out_indices=tuple(range(args.stage + 1)))
    labeler = build_labeler(
        clip=dict(name=args.clip, pretrained=options.clip_weights(args)), teacher=teacher,
        vocabulary=vocabulary, device=args.device, clip_batch_size=args.clip_batch_size,
        task=args.teacher_task, cluster_numbers=args.clusters,
        image_size=args.image_size,
        input_size=[round(side * args.scale) for side in args.image_size], stage=args.stage,
        foreground=args.foreground, position_weight=args.position_weight,
        min_foreground=args.min_foreground, min_person_cosine=args.min_person_cosine,
        region=args.region, fit=args.fit, fill=args.fill, logit_scale=args.logit_scale,
        amp=args.amp or ('bf16' if computes_in_bfloat16(args.device) else 'none'))
    if args.teacher == 'none':
        labeler.teacher_id = ColourTeacher.NAME
    return labeler
