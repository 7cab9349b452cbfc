_base_ = './solider_swin-tiny_8xb48-10e_luperson-256x128.py'

# The ablations' setting: one million images drawn by seed.
model = dict(
    stage1='work_dirs/dino_swin-tiny_8xb96-100e_luperson1m-256x128/epoch_100.pth')
train_dataloader = dict(dataset=dict(num_images=1_000_000))
