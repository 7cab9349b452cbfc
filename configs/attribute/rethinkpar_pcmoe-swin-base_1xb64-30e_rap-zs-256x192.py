_base_ = '../_base_/attribute_rap-zs-256x192.py'
