_base_ = 'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_swin-b-p4-w7_8xb32-210e_coco-384x288.py'

# SOLIDER's setting: stages 3 and 4 kept at stride 8, one deconvolution to 72x96 heatmaps, AdamW
# without weight decay on relative-position tables, long warm-up, no stochastic depth, and the draws
# of mmpose 0.x: SOLIDER's pose estimators are trained by its pipeline.
custom_imports = dict(
    imports=['clasp_mm.datasets.coco_keypoints', 'clasp_mm.datasets.pose_draws'])
model = dict(
    # The host takes each step's heatmaps to NumPy for it, which waits for the GPU and knows no bfloat16.
    train_cfg=dict(compute_acc=False),
    backbone=dict(
        _delete_=True,
        type='clasp_mm.PCMoESwin',
        arch='base',
        task='part',
        strides=(4, 2, 1, 1),
        drop_path_rate=0.,
        init_cfg=dict(
            type='clasp_mm.Pretrained', checkpoint='clasp_pcmoe-swin-base_luperson')),
    head=dict(deconv_out_channels=(256, ), deconv_kernel_sizes=(4, )))
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='clasp_mm.ClippedBBoxTransform', scale_prob=0., rotate_prob=0.),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='RandomHalfBody', upper_prioritized_prob=0.6915),  # a normal draw is below 0.5
    dict(type='clasp_mm.ClippedBBoxTransform', shift_prob=0.),
    dict(type='TopdownAffine', input_size=_base_.codec.input_size),
    dict(type='GenerateTarget', encoder=_base_.codec),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(
    dataset=dict(type='clasp_mm.CocoKeypoints', pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(type='clasp_mm.CocoKeypoints'))
test_dataloader = dict(dataset=dict(type='clasp_mm.CocoKeypoints'))
optim_wrapper = dict(
    constructor='clasp_mm.TrainableOptimWrapperConstructor',
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys={
        'moe.prompts': dict(decay_mult=0.),  # it would shrink those of other tasks
        'relative_position_bias_table': dict(decay_mult=0.)}))
max_epochs = 210
train_cfg = dict(max_epochs=max_epochs, val_interval=5)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=11710, start_factor=0.001, by_epoch=False),
    dict(type='MultiStepLR', begin=0, end=max_epochs, milestones=[170, 200], gamma=0.1,
         by_epoch=True),
]
default_hooks = dict(checkpoint=dict(type='clasp_mm.SafeCheckpointHook'))
