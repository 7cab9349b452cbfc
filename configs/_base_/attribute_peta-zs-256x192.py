_base_ = './attribute_pa100k-256x128.py'

# A zero-shot split of RethinkPAR, where no identity is in two splits: wider input, weight decay and
# fixed steps.
size = (256, 192)  # height, width
model = dict(head=dict(num_attributes=35))
train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = size[::-1]
train_pipeline[2].crop_size = size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = size[::-1]
data_root = 'data/peta/'
data = dict(data_root=data_root, ann_file='dataset_zs_run0.pkl', data_prefix='images')
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **data))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **data))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline, **data))
optim_wrapper = dict(
    optimizer=dict(weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={
        'moe.prompts': dict(decay_mult=0.)}))  # decay would shrink those of other tasks
param_scheduler = [
    dict(type='MultiStepLR', milestones=[10, 15], gamma=0.1, by_epoch=True),
]
