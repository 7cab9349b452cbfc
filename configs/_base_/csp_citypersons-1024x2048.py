_base_ = 'mmdet::_base_/default_runtime.py'

# CSP on CityPersons as SOLIDER trains it (a fork of Pedestron): stages 2 to 4 at stride 4, centre,
# height, width and offset; Adam, 240 epochs, the weights' moving average is what is tested.
# Selection: none. CityPersons has labels for train and val only and numbers are reported on val, so
# the last epoch's average is the result; choosing the best epoch on val would be choosing on the
# test split. To choose, hold out cities of train and say so.
custom_imports = dict(imports=['clasp_mm.models.detection', 'clasp_mm.datasets.citypersons'])
model = dict(
    type='mmdet.SingleStageDetector',
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=16),
    backbone=dict(
        type='clasp_mm.PCMoESwin',
        arch='tiny',
        task='part',
        strides=(4, 2, 2, 1),
        out_indices=(1, 2, 3),
        channels_last=True,
        init_cfg=dict(type='clasp_mm.Pretrained', checkpoint='clasp_pcmoe-swin-tiny_luperson')),
    neck=dict(type='clasp_mm.CSPNeck', in_channels=(192, 384, 768), in_strides=(8, 16, 16)),
    bbox_head=dict(
        type='clasp_mm.CSPHead',
        in_channels=768,
        predict_width=True,
        loss_center=dict(type='mmdet.GaussianFocalLoss', alpha=2.0, gamma=4.0, loss_weight=0.01),
        loss_scale=dict(type='mmdet.SmoothL1Loss', loss_weight=1.0),
        loss_offset=dict(type='mmdet.SmoothL1Loss', loss_weight=0.1)),
    train_cfg=dict(radius=2, min_width=16),
    test_cfg=dict(
        score_thr=0.01, nms_pre=1000, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100))

size = (2048, 1024)  # width, height
# Boxes are not clipped by crops: one whose centre is cut off is ignored, the others keep their size.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Brightness', prob=0.5, min_mag=0.5, max_mag=2.0),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomResize', scale=size, ratio_range=(0.4, 1.5), resize_type='mmdet.Resize',
         keep_ratio=True, clip_object_border=False),
    dict(type='RandomCrop', crop_size=size, allow_negative_crop=True,
         bbox_clip_border=False),
    dict(type='Pad', size=size, pad_val=dict(img=(104, 116, 124))),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='PackDetInputs',
         meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances')),
]
data_root = 'data/citypersons/'
loading = dict(num_workers=4, persistent_workers=True)
train_dataloader = dict(
    **loading,
    batch_size=3,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=True),
    dataset=dict(
        type='clasp_mm.CityPersons',
        data_root=data_root,
        ann_file='gtBboxCityPersons/train',
        data_prefix=dict(img='leftImg8bit/train'),
        min_height=50,
        pipeline=train_pipeline))
val_dataloader = dict(
    **loading,
    batch_size=1,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=False),
    dataset=dict(
        type='clasp_mm.CityPersons', data_root=data_root, ann_file='gtBboxCityPersons/val',
        data_prefix=dict(img='leftImg8bit/val'), test_mode=True, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='clasp_mm.MissRateMetric')
test_evaluator = val_evaluator

max_epochs = 240
optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    constructor='clasp_mm.TrainableOptimWrapperConstructor',
    optimizer=dict(type='Adam', lr=1e-4))
param_scheduler = [
    dict(type='mmengine.ConstantLR', factor=1 / 3, by_epoch=False, begin=0, end=500),
    dict(type='mmengine.MultiStepLR', milestones=[110, 160], gamma=0.1, by_epoch=True, begin=0,
         end=max_epochs),
]
train_cfg = dict(type='mmengine.EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=10)
val_cfg = dict(type='mmengine.ValLoop')
test_cfg = dict(type='mmengine.TestLoop')
default_hooks = dict(checkpoint=dict(type='clasp_mm.SafeCheckpointHook', max_keep_ckpts=2))
custom_hooks = [
    dict(type='mmengine.EMAHook', momentum=0.001),  # average = 0.999 average + 0.001 weights
    dict(type='clasp_mm.RunRecordHook'),
]
