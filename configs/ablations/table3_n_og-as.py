_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table III, one gate x all stages: as G, after every stage.
model = dict(
    backbone=dict(
        moe=dict(
            prompt_embedding=False,
            channel_gate=False,
            prompt_residual=False)))
