_base_ = 'mmpose::body_2d_keypoint/topdown_heatmap/crowdpose/td-hm_res50_8xb64-210e_crowdpose-256x192.py'

# Another data set is the host's config for it and the backbone.
model = dict(
    backbone=dict(
        _delete_=True,
        type='clasp_mm.PCMoESwin',
        arch='tiny',
        task='part',
        init_cfg=dict(
            type='clasp_mm.Pretrained', checkpoint='clasp_pcmoe-swin-tiny_luperson')),
    head=dict(in_channels=768))
