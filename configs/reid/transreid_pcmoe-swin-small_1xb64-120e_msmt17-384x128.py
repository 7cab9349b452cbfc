_base_ = 'transreid_pcmoe-swin-small_1xb64-120e_market1501-384x128.py'

model = dict(head=dict(num_classes=1041))
data = dict(type='clasp_mm.MSMT17', data_root='data/MSMT17/')
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
