_base_ = './task_runtime.py'

# RethinkPAR's recipe as SOLIDER uses it, but that the validation split, not test, decides on the
# learning rate and on the best checkpoint. Images are resized as torchvision does it on Pillow's.
size = (256, 128)  # height, width
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
    backbone=dict(
        type='clasp_mm.PCMoESwin',
        arch='base',
        task='attribute',
        drop_path_rate=0.,
        init_cfg=dict(
            type='clasp_mm.Pretrained', checkpoint='clasp_pcmoe-swin-base_luperson')),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='clasp_mm.AttributeHead', num_attributes=26, in_channels=1024))
resize = dict(type='Resize', scale=size[::-1], backend='pillow', interpolation='bilinear')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    resize,
    dict(type='RandomCrop', crop_size=size, padding=10),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    resize,
    dict(type='PackInputs'),
]
dataset_type = 'clasp_mm.AttributeDataset'
data_root = 'data/pa100k/'
loading = dict(batch_size=64, num_workers=4, persistent_workers=True)
people = dict(
    type=dataset_type, data_root=data_root, ann_file='annotation.mat', data_prefix='data')
train_dataloader = dict(
    **loading,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**people, split='train', pipeline=train_pipeline))
val_dataloader = dict(
    **loading,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**people, split='val', pipeline=test_pipeline, test_mode=True))
test_dataloader = dict(val_dataloader, dataset=dict(val_dataloader['dataset'], split='test'))
val_evaluator = dict(type='clasp_mm.AttributeMetric')
test_evaluator = dict(type='clasp_mm.AttributeMetric', per_attribute=True)
max_epochs = 30
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='clasp_mm.TrainableOptimWrapperConstructor',
    optimizer=dict(type='Adam', lr=1e-5, weight_decay=0.),
    clip_grad=dict(max_norm=10))
plateau = dict(
    type='ReduceOnPlateauLR', monitor='attribute/bce', rule='less', factor=0.1, patience=4)
param_scheduler = [plateau]
auto_scale_lr = dict(base_batch_size=64)
default_hooks = dict(checkpoint=dict(save_best='attribute/mA', rule='greater'))
custom_hooks = [
    dict(type='clasp_mm.ExactResumeHook'),
    dict(type='clasp_mm.FiniteHook'),
    dict(type='clasp_mm.AttributeHook', select_on_test=False),
]
