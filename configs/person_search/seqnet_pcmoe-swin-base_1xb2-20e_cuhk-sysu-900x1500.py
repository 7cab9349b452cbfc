_base_ = '../_base_/seqnet_pcmoe-swin.py'

model = dict(
    backbone=dict(arch='base', init_cfg=dict(checkpoint='clasp_pcmoe-swin-base_luperson')),
    rpn_head=dict(in_channels=512, feat_channels=512),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=512),
        bbox_head=[
            dict(
                type='mmdet.BBoxHead',
                with_avg_pool=True,
                in_channels=1024,
                num_classes=1,
                bbox_coder={{_base_.box_coder}},
                loss_cls=dict(type='mmdet.CrossEntropyLoss'),
                loss_bbox=dict(type='mmdet.SmoothL1Loss', loss_weight=10.0)),
            dict(
                type='clasp_mm.NAEHead',
                in_channels=(512, 1024),
                channels=256,
                bbox_coder={{_base_.box_coder}},
                loss_cls=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True),
                loss_bbox=dict(type='mmdet.SmoothL1Loss')),
        ]))
train_dataloader = dict(batch_size=2)
