_base_ = './dino_swin.py'

# SOLIDER on top of stage 1: background and three parts, told on the last map (8x4 tokens).
model = dict(
    type='clasp_mm.SOLIDER',
    backbone=dict(
        _delete_=True, type='clasp_mm.SemanticSwin', arch='tiny', drop_path_rate=0.1),
    part_head=dict(type='clasp_mm.PartSegHead', in_channels=768, num_classes=4),
    foreground='norm',
    min_foreground=0.5,
    part_weight=1.0,
    stage1=None)
