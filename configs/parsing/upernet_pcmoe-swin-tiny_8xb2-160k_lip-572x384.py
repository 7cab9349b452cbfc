_base_ = [
    'mmseg::_base_/models/upernet_swin.py',
    'mmseg::_base_/schedules/schedule_160k.py',
    '../_base_/datasets/lip_572x384.py',
    '../_base_/parsing_runtime.py',
    '../_base_/tiny_backbone.py',
]

# The simple alternative: mmsegmentation's own Swin UPerNet, its recipe, another backbone; the head
# is the host's too, with the same weights and outputs in half of its work.
custom_imports = dict(imports=['clasp_mm.datasets.lip', 'clasp_mm.models.parsing'])
model = dict(
    type='clasp_mm.HumanParser',
    data_preprocessor=dict(size=_base_.size),
    backbone=dict(_base_.tiny, _delete_=True, out_indices=(0, 1, 2, 3), drop_path_rate=0.3),
    decode_head=dict(type='clasp_mm.UPerHead', num_classes=20),
    auxiliary_head=dict(num_classes=20))
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    constructor='clasp_mm.TrainableOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(
        norm_decay_mult=0.,
        custom_keys={
            'moe.prompts': dict(decay_mult=0.),  # it would shrink those of other tasks
            'relative_position_bias_table': dict(decay_mult=0.)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0., power=1., begin=1500, end=160000, by_epoch=False),
]
log_processor = dict(by_epoch=False)
train_dataloader = dict(batch_size=2, sampler=dict(_delete_=True, type='InfiniteSampler'))
default_hooks = dict(checkpoint=dict(type='clasp_mm.SafeCheckpointHook'))
