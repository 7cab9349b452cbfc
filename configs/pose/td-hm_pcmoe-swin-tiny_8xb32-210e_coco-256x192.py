_base_ = 'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_swin-t-p4-w7_8xb32-210e_coco-256x192.py'

# The host's own setting; only the backbone is another, and the data set tells what is wrong with it.
custom_imports = dict(imports=['clasp_mm.datasets.coco_keypoints'])
model = dict(
    # The host takes each step's heatmaps to NumPy for it, which waits for the GPU and knows no bfloat16.
    train_cfg=dict(compute_acc=False),
    backbone=dict(
        _delete_=True,
        type='clasp_mm.PCMoESwin',
        arch='tiny',
        task='part',
        drop_path_rate=0.2,
        init_cfg=dict(
            type='clasp_mm.Pretrained', checkpoint='clasp_pcmoe-swin-tiny_luperson')))
train_dataloader = dict(dataset=dict(type='clasp_mm.CocoKeypoints'))
val_dataloader = dict(dataset=dict(type='clasp_mm.CocoKeypoints'))
test_dataloader = dict(dataset=dict(type='clasp_mm.CocoKeypoints'))
default_hooks = dict(checkpoint=dict(type='clasp_mm.SafeCheckpointHook'))
