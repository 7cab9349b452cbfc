_base_ = [
    '../_base_/models/solider_swin.py',
    '../_base_/datasets/luperson_256x128.py',
    '../_base_/schedules/solider_10e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    stage1='work_dirs/dino_swin-tiny_8xb96-100e_luperson-256x128/epoch_100.pth')
train_dataloader = dict(batch_size=48)
