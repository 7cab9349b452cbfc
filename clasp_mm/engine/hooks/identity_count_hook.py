"""Does the model have a place for every identity of the training set?"""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import BatchSampler

from clasp_mm.datasets.identity_sampler import IdentitySampler
from clasp_mm.models.losses import OIMLoss
from clasp_mm.models.reid import ReIDHead
from clasp_mm.registry import HOOKS

_COUNTS = {OIMLoss: 'num_identities', ReIDHead: 'num_classes'}


@HOOKS.register_module()
class IdentityCountHook(Hook):
    """Compares the training set with model and sampler, before the first iteration.

    The data tell theirs as ``num_identities`` of their metainfo (those that do not are not
    checked); the model has a row for each in ``clasp_mm.OIMLoss`` or ``clasp_mm.ReIDHead``. The log
    tells of rows that no identity takes.
    """

    def before_train(self, runner: Runner) -> None:
        """Raise a ValueError where the data have more identities than the model has rows.

        Or where a batch is not one of the sampler: with fewer images, the triplet loss would find
        no second person.
        """
        _check_batch(runner.train_dataloader.batch_sampler)
        data = runner.train_dataloader.dataset
        identities = data.metainfo.get('num_identities')
        for path, module in runner.model.named_modules():
            name = _COUNTS.get(type(module))
            if name is None or identities is None:
                continue
            rows = getattr(module, name)
            place = f'model.{path.removeprefix("module.")}.{name}'
            if rows < identities:
                raise ValueError(f'{place} is {rows}, but the training set, {_name(data)}, has '
                                 f'{identities} identities: set {place}={identities}')
            if rows > identities:
                runner.logger.warning(f'{place} is {rows}, the training set, {_name(data)}, has '
                                      f'{identities} identities: {rows - identities} rows are '
                                      "nobody's")


def _check_batch(batches: BatchSampler) -> None:
    sampler, size = batches.sampler, batches.batch_size
    if not isinstance(sampler, IdentitySampler):
        return
    people, images = sampler.num_identities, sampler.num_instances
    if size != people * images:
        raise ValueError(
            f'train_dataloader.batch_size is {size}, but its sampler draws {people} people of '
            f'{images} images: set batch_size={people * images}, or sampler.num_identities='
            f'{max(size // images, 1)} beside it')


def _name(data: object) -> str:
    """Class and folder of a data set, whatever repeats it."""
    while not hasattr(data, 'data_root') and hasattr(data, 'dataset'):
        data = data.dataset
    return f'{type(data).__name__} in {getattr(data, "data_root", "?")}'
