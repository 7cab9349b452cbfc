_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table III, many gates x all stages: as M, after every stage.
model = dict(
    backbone=dict(
        moe=dict(
            prompt_embedding=False,
            channel_gate=False,
            prompt_residual=False,
            task_gates=True)))
