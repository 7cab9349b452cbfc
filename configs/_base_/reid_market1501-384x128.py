_base_ = './task_runtime.py'

# The global branch of TransReID as SOLIDER uses it: neither patches nor cameras. Images are resized
# as torchvision does it on Pillow's, bicubic to train on and bilinear to test.
size = (384, 128)  # height, width
num_identities = 751
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True),
    backbone=dict(
        type='clasp_mm.PCMoESwin',
        arch='base',
        task='appearance',
        drop_path_rate=0.1,
        init_cfg=dict(
            type='clasp_mm.Pretrained', checkpoint='clasp_pcmoe-swin-base_luperson')),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='clasp_mm.ReIDHead', num_classes=num_identities, in_channels=1024))
resize = dict(type='Resize', scale=size[::-1], backend='pillow')
pack = dict(
    type='PackInputs', meta_keys=('sample_idx', 'img_path', 'pid', 'camera', 'is_query'))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(**resize, interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomCrop', crop_size=size, padding=10),
    # Noise of mean 0 and deviation 1 behind the normalisation, cut off at 0 and 255 before it.
    dict(
        type='RandomErasing',
        erase_prob=0.5,
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        mode='rand',
        fill_color=(127.5, ) * 3,
        fill_std=(127.5, ) * 3),
    pack,
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(**resize, interpolation='bilinear'),
    pack,
]
dataset_type = 'clasp_mm.Market1501'
data_root = 'data/market1501/'
train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='clasp_mm.IdentitySampler', num_identities=16, num_instances=4),
    dataset=dict(
        type=dataset_type, data_root=data_root, split='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, split='test', pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='clasp_mm.ReIDMetric')
test_evaluator = dict(type='clasp_mm.ReIDMetric', rerank=dict(k1=20, k2=6, lambda_value=0.3))
max_epochs = 120
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=10)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='clasp_mm.TrainableOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=2e-4, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={
        'bias': dict(lr_mult=2.),  # wherever the word is in the name: norms, relative positions
        'moe.b1': dict(lr_mult=2.),  # the experts' biases
        'moe.b2': dict(lr_mult=2.),
        'moe.prompts': dict(decay_mult=0.)}))  # decay would shrink those of other tasks
param_scheduler = [
    dict(
        type='clasp_mm.WarmupCosineLR',
        warmup=20,
        total=max_epochs,
        start_ratio=0.01,
        end_ratio=0.002),
]
auto_scale_lr = dict(base_batch_size=64)
default_hooks = dict(checkpoint=dict(interval=10))
custom_hooks = [
    dict(type='clasp_mm.IdentityCountHook'),
    dict(type='clasp_mm.ExactResumeHook'),
    dict(type='clasp_mm.FiniteHook'),
    dict(type='clasp_mm.RunRecordHook'),
]
