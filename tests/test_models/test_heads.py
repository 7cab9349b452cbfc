import pytest
import torch
import torch.nn.functional as F

from clasp_mm.models.heads import AttrHead, DINOHead, PartSegHead
from tests.oracles import losses as oracle


def test_dino_head_logits_are_cosines_to_prototypes():
    torch.manual_seed(0)
    head = DINOHead(8, out_dim=11, hidden_dim=16, bottleneck_dim=4)
    x = torch.randn(5, 8)
    expected = F.cosine_similarity(head.mlp(x)[:, None], head.last_layer.weight[None], dim=-1)
    torch.testing.assert_close(head(x), expected)
    with torch.no_grad():
        head.last_layer.weight *= 3
    torch.testing.assert_close(head(x), expected)


def test_dino_head_learns_its_gain_only_when_asked():
    assert [n for n, _ in DINOHead(8, 5, 8, 4).last_layer.named_parameters()] == ['weight']
    head = DINOHead(8, 5, 8, 4, norm_last_layer=False)
    x = torch.randn(3, 8)
    before = head(x)
    with torch.no_grad():
        head.last_layer.gain.fill_(2)
    torch.testing.assert_close(head(x), 2 * before)


def test_part_loss_equals_its_definition_and_reads_token_centres():
    torch.manual_seed(0)
    head = PartSegHead(6, 4).double()
    maps = (torch.randn(3, 6, 4, 2, dtype=torch.float64, requires_grad=True),)
    labels = torch.randint(0, 4, (3, 4, 2))
    labels[0, 1] = 255
    labels[2] = 255
    fine = labels.repeat_interleave(4, 1).repeat_interleave(4, 2).byte()
    fine[:, ::4] = 3  # off-centre pixels do not matter
    value = head.loss(maps, fine)['loss_part']
    expected = oracle.part_loss(head(maps), labels)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(*(torch.autograd.grad(v, maps, retain_graph=True)
                                 for v in (value, expected)))


def test_attr_loss_equals_its_definition():
    torch.manual_seed(0)
    sizes = (2, 3, 4)
    head = AttrHead(5, sizes).double()
    with torch.no_grad():
        head.classifier.weight.normal_()
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[0, 2, 3], [1, -1, 0], [-1, -1, -1], [-1, 0, 1]])
    losses = head.loss(x, target)
    expected = oracle.attr_loss(head(x), sizes, target)
    torch.testing.assert_close(losses['loss_attr'], expected)
    torch.testing.assert_close(*(torch.autograd.grad(v, x, retain_graph=True)
                                 for v in (losses['loss_attr'], expected)))
    choices = [part.argmax(1) for part in head(x).split(sizes, 1)]
    hits = [choices[a][b] == target[b, a] for b in range(4) for a in range(3) if target[b, a] >= 0]
    torch.testing.assert_close(losses['attr_accuracy'], torch.stack(hits).float().mean())


def test_nothing_labelled_gives_zero_loss_and_zero_gradients():
    part, attr = PartSegHead(6, 4), AttrHead(6, (2, 2))
    x = torch.randn(2, 6, 3, 3, requires_grad=True)
    loss = (part.loss((x,), torch.full((2, 3, 3), 255))['loss_part']
            + attr.loss(x.mean((2, 3)), torch.full((2, 2), -1))['loss_attr'])
    loss.backward()
    assert loss == 0 and (x.grad == 0).all()
    assert all((p.grad == 0).all() for m in (part, attr) for p in m.parameters())


def test_attr_head_names_what_does_not_fit():
    with pytest.raises(ValueError, match=r'at least two.*\[2, 1\]'):
        AttrHead(5, (2, 1))
    with pytest.raises(ValueError, match=r'3 attributes.*built for 2'):
        AttrHead(5, (2, 2)).loss(torch.zeros(1, 5), torch.zeros(1, 3, dtype=torch.long))
