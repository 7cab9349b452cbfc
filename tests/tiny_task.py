"""A task of a few bytes for the launch tools: fit a line, measure the error."""

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from torch import nn


@MODELS.register_module(force=True)
class TinyModel(BaseModel):

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(1, 1)

    def forward(self, inputs, target=None, mode='loss'):
        error = (self.line(inputs) - target).square()
        return dict(loss=error.mean()) if mode == 'loss' else error


@DATASETS.register_module(force=True)
class TinyData(torch.utils.data.Dataset):

    def __len__(self):
        return 16

    def __getitem__(self, index):
        x = torch.tensor([index / 16])
        return dict(inputs=x, target=2 * x)


@METRICS.register_module(force=True)
class TinyError(BaseMetric):

    def process(self, data_batch, data_samples):
        self.results += [sample.item() for sample in data_samples]

    def compute_metrics(self, results):
        return dict(error=sum(results) / len(results), count=len(results))
