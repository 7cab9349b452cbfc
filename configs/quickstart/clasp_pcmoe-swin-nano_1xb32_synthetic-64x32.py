_base_ = './dino_swin-nano_stage2_1xb32_synthetic-64x32.py'

# The same start, epochs and schedule as its base, plus what CLASP adds. So few steps need the semantic
# losses at 16 times the weight of the long recipes and PC-MoE at 10 times the learning rate: without, PC-MoE
# stays near the identity (docs/paper.md). Importance and load keep one expert from carrying a stage, which the
# paper's term cannot do at these weights (configs/ablations/README.md, "Balance of the experts").
model = dict(
    type='clasp_mm.CLASP',
    backbone=dict(
        moe=dict(_delete_=True, num_experts=10, top_k=6, num_prompts=3, expert_hidden=8),
        out_indices=(1, 3)),
    part_head=dict(type='clasp_mm.PartSegHead', in_channels=64, num_classes=10, in_index=0),
    attr_head=dict(
        type='clasp_mm.AttrHead',
        in_channels=256,
        attribute_sizes=(2, 3, 2, 2, 2, 2, 3, 3, 3)),
    semantic_views='one',
    part_weight=16.0,
    attr_weight=16.0,
    balance='importance_load',
    balance_weight=0.003)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'.moe.': dict(lr_mult=10.)}))
train_pipeline = [
    dict(
        type='clasp_mm.CLIPPseudoLabeler',
        store='work_dirs/quickstart/seed0/labels',
        cluster_numbers=(3, 4, 5)),
    _base_.multi_crop,
    dict(type='clasp_mm.PackViews'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
