_base_ = '../_base_/seqnet_pcmoe-swin.py'
