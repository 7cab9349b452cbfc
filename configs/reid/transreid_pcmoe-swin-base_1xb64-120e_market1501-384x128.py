_base_ = '../_base_/reid_market1501-384x128.py'
