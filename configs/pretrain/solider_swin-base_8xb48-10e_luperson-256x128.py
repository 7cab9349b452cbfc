_base_ = './solider_swin-tiny_8xb48-10e_luperson-256x128.py'
model = dict(
    backbone=dict(arch='base'),
    head=dict(in_channels=1024),
    part_head=dict(in_channels=1024),
    stage1='work_dirs/dino_swin-base_8xb48-100e_luperson-256x128/epoch_100.pth')
