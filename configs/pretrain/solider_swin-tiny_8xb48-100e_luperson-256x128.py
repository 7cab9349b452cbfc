_base_ = [
    '../_base_/models/solider_swin.py',
    '../_base_/datasets/luperson_256x128.py',
    '../_base_/schedules/dino_100e.py',
    '../_base_/default_runtime.py',
]

# From scratch, without a stage 1.
train_dataloader = dict(batch_size=48)
