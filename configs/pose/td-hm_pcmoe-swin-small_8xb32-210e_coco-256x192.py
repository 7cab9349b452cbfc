_base_ = './td-hm_pcmoe-swin-tiny_8xb32-210e_coco-256x192.py'

model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint='clasp_pcmoe-swin-small_luperson')))
