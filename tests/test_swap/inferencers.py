"""The hosts' own Inferencers; as a program: one of them, in a process without ours.

``python -m tests.test_swap.inferencers HOST CONFIG CHECKPOINT IMAGE`` prints what was found.
"""

import json
import sys
from typing import Any

import numpy as np

SHAPES = dict(mmpose=(17, 2), mmseg=(96, 96), mmpretrain=(1000, ))


def infer(host: str, config: str, checkpoint: str, image: str) -> tuple[Any, Any]:
    """The model inside the host's own Inferencer, and what it says of an image."""
    if host == 'mmpose':
        from mmpose.apis import MMPoseInferencer
        inferencer = MMPoseInferencer(pose2d=config, pose2d_weights=checkpoint, device='cpu',
                                      det_model='whole_image')
        (person, ), = next(inferencer(image))['predictions']
        return inferencer.inferencer.model, np.array(person['keypoints'])
    if host == 'mmdet':
        from mmdet.apis import DetInferencer
        inferencer = DetInferencer(config, checkpoint, device='cpu', show_progress=False)
        (result, ) = inferencer(image)['predictions']
        return inferencer.model, np.array(result['bboxes']).reshape(-1, 4)
    if host == 'mmseg':
        from mmseg.apis import MMSegInferencer
        inferencer = MMSegInferencer(config, checkpoint, device='cpu')
        return inferencer.model, inferencer(image)['predictions']
    from mmpretrain.apis import ImageClassificationInferencer
    inferencer = ImageClassificationInferencer(config, checkpoint, device='cpu')
    return inferencer.model, inferencer(image)[0]['pred_scores']


def main(host: str, config: str, checkpoint: str, image: str) -> None:
    before = 'clasp_mm' in sys.modules
    model, result = infer(host, config, checkpoint, image)
    import torch
    saved = torch.load(checkpoint, weights_only=True)['state_dict']
    state = model.state_dict()
    print()  # ends a progress bar
    print(json.dumps(dict(
        asked_for_ours=before, backbone=type(model.backbone).__name__,
        weights=state.keys() == saved.keys() and all(
            torch.equal(state[name], saved[name]) for name in saved),
        operators=getattr(sys.modules['mmcv._ext'], '__file__', None)
        if 'mmcv._ext' in sys.modules else None,
        result=np.asarray(result).tolist())))


if __name__ == '__main__':
    main(*sys.argv[1:])
