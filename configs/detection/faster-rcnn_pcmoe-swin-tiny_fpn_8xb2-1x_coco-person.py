_base_ = [
    'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    '../_base_/tiny_backbone.py',
]

# The host's own recipe; what differs is the backbone, its optimizer, one class, a data set that tells
# what it cannot read, and RoIAlign by torchvision: the same numbers as mmcv's in two thirds of the
# time on CPUs.
custom_imports = dict(imports=['clasp_mm.datasets.coco_boxes'])
model = dict(
    backbone=dict(_base_.tiny, _delete_=True, out_indices=(0, 1, 2, 3)),
    neck=dict(in_channels=[96, 192, 384, 768]),
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(use_torchvision=True)),
        bbox_head=dict(num_classes=1)))
metainfo = dict(classes=('person', ), palette=[(220, 20, 60)])
train_dataloader = dict(dataset=dict(type='clasp_mm.CocoBoxes', metainfo=metainfo))
val_dataloader = dict(dataset=dict(type='clasp_mm.CocoBoxes', metainfo=metainfo))
test_dataloader = dict(dataset=dict(type='clasp_mm.CocoBoxes', metainfo=metainfo))
optim_wrapper = dict(
    constructor='clasp_mm.TrainableOptimWrapperConstructor',
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=0.05),
    # Decay would shrink the prompts of other tasks.
    paramwise_cfg=dict(custom_keys={'moe.prompts': dict(decay_mult=0.)}))
default_hooks = dict(checkpoint=dict(type='clasp_mm.SafeCheckpointHook'))
