from torch import nn, ones


class Colours(nn.Module):
    """The mean colour is the feature, so that neighbours are known."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(ones(()))

    def forward(self, x, task=None):
        std, mean = x.new_tensor([0.229, 0.224, 0.225]), x.new_tensor([0.485, 0.456, 0.406])
        return (self.scale * x * std[:, None, None] + mean[:, None, None],)
