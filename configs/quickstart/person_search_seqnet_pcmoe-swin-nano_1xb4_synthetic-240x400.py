_base_ = [
    '../_base_/seqnet_pcmoe-swin.py',
    '../_base_/quickstart_nano.py',
]

# Five minutes on one core: nano Swin and drawn scenes of 240x400, in which people are about as
# large as the crops of pretraining. Regions and anchors have their shape, and few are looked at.
# Both heads read one copy of stage 4, each under its own prompt: a model of two thirds the size.
# Selection: on the val split of the drawn scenes the best checkpoint is kept beside the last.
rcnn = _base_.rcnn
rcnn.sampler.num = 32
model = dict(
    backbone=_base_.nano,
    rpn_head=dict(
        in_channels=128,
        feat_channels=64,
        anchor_generator=dict(scales=[1.5, 2.5, 4.0, 6.0], ratios=[3.0])),
    roi_head=dict(
        share_stage=True,
        bbox_roi_extractor=dict(
            roi_layer=dict(output_size=(8, 4)), out_channels=128),
        bbox_head=[
            dict(
                type='mmdet.BBoxHead',
                with_avg_pool=True,
                roi_feat_size=(4, 2),
                in_channels=256,
                num_classes=1,
                bbox_coder={{_base_.box_coder}},
                loss_cls=dict(type='mmdet.CrossEntropyLoss'),
                loss_bbox=dict(type='mmdet.SmoothL1Loss')),
            dict(
                type='clasp_mm.NAEHead',
                in_channels=(128, 256),
                channels=128,
                roi_feat_size=(4, 2),
                bbox_coder={{_base_.box_coder}},
                loss_cls=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True),
                loss_bbox=dict(type='mmdet.SmoothL1Loss')),
        ],
        loss_oim=dict(num_identities=200, queue_size=64, channels=128, scalar=15.0)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=400, max_per_img=100),
        rcnn=[rcnn, rcnn]),
    test_cfg=dict(rpn=dict(nms_pre=1000, max_per_img=50)))
size = (400, 240)
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = size
data_root = 'work_dirs/quickstart_downstream/data/person_search/'
train_dataloader = dict(
    **_base_.in_process,
    dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4,
    **_base_.in_process,
    dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
max_epochs = 16
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=5e-4, weight_decay=0.01))
param_scheduler = [
    dict(type='mmengine.LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='mmengine.CosineAnnealingLR', T_max=max_epochs, eta_min=1e-5, by_epoch=True, begin=0,
         end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=8)
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(max_keep_ckpts=2, save_best='search/mAP', rule='greater'))
env_cfg = dict(dist_cfg=dict(backend='gloo'))
randomness = dict(seed=0)
