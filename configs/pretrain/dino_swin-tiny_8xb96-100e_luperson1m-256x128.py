_base_ = './dino_swin-tiny_8xb96-100e_luperson-256x128.py'

# The ablations' setting: one million images drawn by seed.
train_dataloader = dict(dataset=dict(num_images=1_000_000))
