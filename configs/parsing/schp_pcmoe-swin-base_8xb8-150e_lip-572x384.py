_base_ = './schp_pcmoe-swin-tiny_8xb8-150e_lip-572x384.py'
model = dict(
    backbone=dict(arch='base', init_cfg=dict(checkpoint='clasp_pcmoe-swin-base_luperson')),
    decode_head=dict(
        in_channels=[128, 256, 512, 1024], detail_channels=64, edge_channels=256))
