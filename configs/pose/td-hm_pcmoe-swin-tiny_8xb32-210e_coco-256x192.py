_base_ = [
    'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_swin-t-p4-w7_8xb32-210e_coco-256x192.py',
    '../_base_/tiny_backbone.py',
]

# The host's own setting; only the backbone is another, and the data set tells what is wrong with it.
custom_imports = dict(imports=['clasp_mm.datasets.coco_keypoints'])
model = dict(
    # The host takes each step's heatmaps to NumPy for it, which waits for the GPU and knows no bfloat16.
    train_cfg=dict(compute_acc=False),
    backbone=dict(_base_.tiny, _delete_=True, drop_path_rate=0.2))
train_dataloader = dict(dataset=dict(type='clasp_mm.CocoKeypoints'))
val_dataloader = dict(dataset=dict(type='clasp_mm.CocoKeypoints'))
test_dataloader = dict(dataset=dict(type='clasp_mm.CocoKeypoints'))
default_hooks = dict(checkpoint=dict(type='clasp_mm.SafeCheckpointHook'))
