_base_ = './dino_swin-nano_stage2_1xb32_synthetic-64x32.py'

# The same start, epochs and schedule as its base, plus what SOLIDER adds. Its last map is 2x1 here:
# the parts are told on the second stage's, which has the 8x4 tokens of the published recipe.
model = dict(
    type='clasp_mm.SOLIDER',
    backbone=dict(
        _delete_=True,
        type='clasp_mm.SemanticSwin',
        arch='nano',
        window_size=4,
        drop_path_rate=0.,
        out_indices=(1, 3)),
    part_head=dict(type='clasp_mm.PartSegHead', in_channels=64, num_classes=4, in_index=0),
    foreground='norm',
    min_foreground=0.5,
    part_weight=1.0)
