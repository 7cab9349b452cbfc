_base_ = './dino_swin-tiny_8xb96-100e_luperson-256x128.py'
model = dict(backbone=dict(arch='base'), head=dict(in_channels=1024))
train_dataloader = dict(batch_size=48)
