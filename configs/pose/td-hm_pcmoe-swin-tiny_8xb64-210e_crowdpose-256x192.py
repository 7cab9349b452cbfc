_base_ = [
    'mmpose::body_2d_keypoint/topdown_heatmap/crowdpose/td-hm_res50_8xb64-210e_crowdpose-256x192.py',
    '../_base_/tiny_backbone.py',
]

# Another data set is the host's config for it and the backbone; here, too, the data set tells what is
# wrong with it.
custom_imports = dict(imports=['clasp_mm.datasets.coco_keypoints'])
model = dict(
    # The host takes each step's heatmaps to NumPy for it, which waits for the GPU and knows no bfloat16.
    train_cfg=dict(compute_acc=False),
    backbone=dict(_base_.tiny, _delete_=True),
    head=dict(in_channels=768))
train_dataloader = dict(dataset=dict(type='clasp_mm.CrowdPoseKeypoints'))
val_dataloader = dict(dataset=dict(type='clasp_mm.CrowdPoseKeypoints'))
test_dataloader = dict(dataset=dict(type='clasp_mm.CrowdPoseKeypoints'))
default_hooks = dict(checkpoint=dict(type='clasp_mm.SafeCheckpointHook'))
