_base_ = './seqnet_pcmoe-swin-tiny_1xb4-20e_cuhk-sysu-900x1500.py'

model = dict(roi_head=dict(loss_oim=dict(num_identities=483, queue_size=500)))
data_root = 'data/prw/'
train_dataloader = dict(dataset=dict(type='clasp_mm.PRW', data_root=data_root))
val_dataloader = dict(dataset=dict(type='clasp_mm.PRW', data_root=data_root))
test_dataloader = val_dataloader
max_epochs = 18
param_scheduler = [
    dict(type='mmengine.LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=1,
         convert_to_iter_based=True),
    dict(type='mmengine.MultiStepLR', milestones=[16], gamma=0.1, by_epoch=True, begin=0,
         end=max_epochs),
]
train_cfg = dict(max_epochs=max_epochs)
