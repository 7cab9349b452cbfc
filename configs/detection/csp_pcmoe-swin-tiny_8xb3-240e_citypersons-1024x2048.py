_base_ = '../_base_/csp_citypersons-1024x2048.py'
