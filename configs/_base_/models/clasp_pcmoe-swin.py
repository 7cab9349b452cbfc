_base_ = './dino_swin.py'

# CLASP on top of stage 1; the heads fit the default vocabulary (9 parts, 9 attributes).
model = dict(
    type='clasp_mm.CLASP',
    backbone=dict(
        moe=dict(_delete_=True, num_experts=10, top_k=6, num_prompts=3, expert_hidden=32)),
    part_head=dict(type='clasp_mm.PartSegHead', in_channels=768, num_classes=10),
    attr_head=dict(
        type='clasp_mm.AttrHead',
        in_channels=768,
        attribute_sizes=(2, 3, 2, 2, 2, 2, 3, 3, 3)),
    semantic_views='alternate',
    part_weight=1.0,
    attr_weight=1.0,
    balance_weight=0.01,
    stage1=None)
