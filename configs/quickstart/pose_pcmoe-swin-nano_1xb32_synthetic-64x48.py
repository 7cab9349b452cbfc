_base_ = [
    '../_base_/pose_coco-384x288.py',
    '../_base_/quickstart_nano.py',
]

# A minute or two on one core: people as large as in the quickstart's pretraining, whose part head read
# the map of stage 2; so the head gets it beside stage 4's.
codec = dict(type='MSRAHeatmap', input_size=(48, 64), heatmap_size=(24, 32), sigma=2)
model = dict(
    backbone=dict(_base_.nano, strides=(4, 2, 2, 1), out_indices=(1, 3)),
    neck=dict(type='FeatureMapProcessor', concat=True),
    head=dict(
        in_channels=64 + 256,
        deconv_out_channels=(64, 64),
        deconv_kernel_sizes=(4, 4),
        decoder=codec))
data_root = 'work_dirs/quickstart_downstream/data/pose/'
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='RandomBBoxTransform', scale_factor=(0.8, 1.25), rotate_factor=30.),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(
    batch_size=32,
    **_base_.in_process,
    dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    **_base_.in_process,
    dataset=dict(
        data_root=data_root,
        bbox_file=None,
        pipeline=val_pipeline))
test_dataloader = val_dataloader
# Given boxes, and PCK at a tenth of the box beside OKS, which asks more than minutes can teach.
val_evaluator = [
    dict(type='CocoMetric', ann_file=data_root + 'annotations/person_keypoints_val2017.json'),
    dict(type='PCKAccuracy', thr=0.1),
]
test_evaluator = val_evaluator
max_epochs = 4
train_cfg = dict(max_epochs=max_epochs, val_interval=1)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=30, start_factor=0.001, by_epoch=False),
    dict(type='MultiStepLR', begin=0, end=max_epochs, milestones=[3], gamma=0.1,
         by_epoch=True),
]
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=1, max_keep_ckpts=2, save_best='PCK'))
env_cfg = dict(dist_cfg=dict(backend='gloo'))
randomness = dict(seed=0)
