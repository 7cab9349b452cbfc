_base_ = 'mmdet::_base_/default_runtime.py'

# SeqNet as SOLIDER trains it: stages 1 to 3 for the whole image with the mean of two prompts, a
# copy of stage 4 for the boxes ('part') and one for the identities ('appearance').
# Selection: none. The last epoch is the result; the best epoch on test would be chosen on test.
custom_imports = dict(imports=['clasp_mm.models.person_search', 'clasp_mm.datasets.person_search'])
rcnn = dict(
    assigner=dict(
        type='mmdet.MaxIoUAssigner',
        pos_iou_thr=0.5,
        neg_iou_thr=0.5,
        min_pos_iou=0.5,
        match_low_quality=False),
    sampler=dict(
        type='mmdet.RandomSampler', num=128, pos_fraction=0.5, add_gt_as_proposals=True),
    pos_weight=-1)
box_coder = dict(type='mmdet.DeltaXYWHBBoxCoder', target_stds=[0.1, 0.1, 0.2, 0.2])
model = dict(
    type='clasp_mm.SeqNet',
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32),
    backbone=dict(
        type='clasp_mm.PCMoESwin',
        arch='tiny',
        task=('appearance', 'part'),
        init_cfg=dict(type='clasp_mm.Pretrained', checkpoint='clasp_pcmoe-swin-tiny_luperson')),
    rpn_head=dict(
        type='clasp_mm.UpcastRPNHead',
        in_channels=384,
        feat_channels=384,
        anchor_generator=dict(
            type='mmdet.AnchorGenerator',
            scales=[2, 4, 8, 16, 32],
            ratios=[0.5, 1.0, 2.0],
            strides=[16]),
        bbox_coder=dict(type='mmdet.DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True),
        loss_bbox=dict(type='mmdet.SmoothL1Loss', beta=1 / 9)),
    roi_head=dict(
        type='clasp_mm.SeqRoIHead',
        tasks=('part', 'appearance'),
        cws=True,
        bbox_roi_extractor=dict(
            type='mmdet.SingleRoIExtractor',
            roi_layer=dict(
                type='RoIAlign',
                output_size=14,
                sampling_ratio=2,
                aligned=False,
                use_torchvision=True),
            out_channels=384,
            featmap_strides=[16]),
        bbox_head=[
            dict(
                type='mmdet.BBoxHead',
                with_avg_pool=True,
                in_channels=768,
                num_classes=1,
                bbox_coder=box_coder,
                loss_cls=dict(type='mmdet.CrossEntropyLoss'),
                loss_bbox=dict(type='mmdet.SmoothL1Loss', loss_weight=10.0)),
            dict(
                type='clasp_mm.NAEHead',
                in_channels=(384, 768),
                channels=256,
                bbox_coder=box_coder,
                loss_cls=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True),
                loss_bbox=dict(type='mmdet.SmoothL1Loss')),
        ],
        loss_oim=dict(
            type='clasp_mm.OIMLoss',
            num_identities=5532,
            queue_size=5000,
            channels=256,
            momentum=0.5,
            scalar=30.0)),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type='mmdet.MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=1e-3),
            sampler=dict(
                type='mmdet.RandomSampler',
                num=256,
                pos_fraction=0.5,
                add_gt_as_proposals=False),
            allowed_border=-1,
            pos_weight=-1),
        rpn_proposal=dict(
            nms_pre=12000,
            max_per_img=2000,
            nms=dict(type='nms', iou_threshold=0.7),
            min_bbox_size=0),
        rcnn=[rcnn, rcnn]),
    test_cfg=dict(
        rpn=dict(
            nms_pre=6000,
            max_per_img=300,
            nms=dict(type='nms', iou_threshold=0.7),
            min_bbox_size=0),
        rcnn=dict(
            first=dict(
                score_thr=0.5, nms=dict(type='nms', iou_threshold=0.4), max_per_img=300),
            score_thr=0.5,
            nms_iou=0.5,
            max_per_img=300)))

size = (1500, 900)  # longest and shortest side
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=size, keep_ratio=True, clip_object_border=False),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='PackDetInputs',
         meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances',
                    'queries')),
]
data_root = 'data/cuhk_sysu/'
loading = dict(num_workers=4, persistent_workers=True)
train_dataloader = dict(
    **loading,
    batch_size=4,
    drop_last=True,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=True),
    dataset=dict(
        type='clasp_mm.CUHKSYSU', data_root=data_root, split='train', pipeline=train_pipeline))
val_dataloader = dict(
    **loading,
    batch_size=1,
    sampler=dict(type='mmengine.DefaultSampler', shuffle=False),
    dataset=dict(
        type='clasp_mm.CUHKSYSU', data_root=data_root, split='test', pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='clasp_mm.PersonSearchMetric', cbgm=None)
test_evaluator = val_evaluator

max_epochs = 20
optim_wrapper = dict(
    type='mmengine.OptimWrapper',
    constructor='clasp_mm.TrainableOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=3e-4, momentum=0.9, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={
        'moe.prompts': dict(decay_mult=0.)}),  # it would shrink those of other tasks
    clip_grad=dict(max_norm=10.0))
param_scheduler = [
    dict(type='mmengine.LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=1,
         convert_to_iter_based=True),
    dict(type='mmengine.MultiStepLR', milestones=[16], gamma=0.1, by_epoch=True, begin=0,
         end=max_epochs),
]
train_cfg = dict(type='mmengine.EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=5)
val_cfg = dict(type='mmengine.ValLoop')
test_cfg = dict(type='mmengine.TestLoop')
default_hooks = dict(checkpoint=dict(type='clasp_mm.SafeCheckpointHook', max_keep_ckpts=2))
custom_hooks = [dict(type='clasp_mm.IdentityCountHook'), dict(type='clasp_mm.RunRecordHook')]
