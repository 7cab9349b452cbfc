_base_ = './solider_swin-tiny_8xb48-10e_luperson-256x128.py'
model = dict(
    backbone=dict(arch='small'),
    stage1='work_dirs/dino_swin-small_8xb64-100e_luperson-256x128/epoch_100.pth')
