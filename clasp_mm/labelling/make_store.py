"""Label a whole data set into a store: by one process or many, in one go or several."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.logging import MMLogger
from torch import Tensor
from tqdm import tqdm

from clasp_mm.datasets.images import warn_unreadable
from clasp_mm.datasets.readable import ImageSource, aligned_batches, readable_batches
from clasp_mm.pseudo_labels.clip_labeler import CLIPLabeler, to_canvas
from clasp_mm.pseudo_labels.hashing import hash_names
from clasp_mm.pseudo_labels.labels import PseudoLabels, Seen
from clasp_mm.pseudo_labels.store import LabelStore, StoreWriter, make_header
from clasp_mm.pseudo_labels.transfer import Download, late
from clasp_mm.utils.claims import hold

_UNWRITTEN = 4  # batches of labels that may wait for the disk


def make_store(source: ImageSource, labeler: CLIPLabeler, out: str | os.PathLike,
               batch_size: int = 64, num_workers: int = 2, rank: int = 0, world_size: int = 1,
               show_progress: bool = True) -> LabelStore | None:
    """Label every image of a source into a store, going on where an earlier run stopped.

    Several processes (``rank`` of ``world_size``) may share the work on one file system: each
    labels its own block of rows, and the last one to finish completes the store. The store's
    bytes do not depend on their number. Reading, both networks and writing go side by side.

    Args:
        source: The images.
        labeler: Makes the labels.
        out: Folder of the store; until it is complete, ``OUT.partial``.
        batch_size: Images per teacher forward.
        num_workers: Processes that read images.
        rank: Number of this process.
        world_size: Number of processes.
        show_progress: Show a bar with the time left.

    Returns:
        The store, or None while other processes still have work to do.

    Raises:
        FileExistsError: If there is a complete store already; several processes, who cannot tell
            it from one that the others have just finished, return it.
        HeldError: Another launch's process of this rank is at work on it.
        ValueError: If an unfinished store was made with other means, or the disk does not give
            back what was written.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f'rank {rank} is none of {world_size} processes')
    hashes = hash_names(source.names)
    header = make_header(hashes, labeler.vocabulary, labeler.clip.identity, labeler.teacher_id,
                         labeler.settings, labeler.grid)
    logger = MMLogger.get_current_instance()
    unreadable: list[str] = []
    out = Path(out)
    if world_size > 1 and out.exists():  # the others left this process nothing to do
        return LabelStore(out, **header)
    with hold(out, out.with_name(f'.{out.name}.{rank}.claim.json')), \
            StoreWriter(out, header, hashes) as writer:
        # This process's block of rows, cut where any number of processes would cut it.
        per_rank = -(-len(hashes) // (batch_size * world_size)) * batch_size
        todo = writer.todo  # once: other processes write as well
        todo = todo[todo // per_rank == rank]
        batches = aligned_batches(todo, batch_size)
        loader = readable_batches(
            source, batches, partial(_to_canvas, size=labeler.settings.image_size), num_workers,
            pin_memory=labeler.device.type == 'cuda')
        # At the end the thread is waited for, whatever happened.
        with tqdm(total=len(todo), unit='img', desc='pseudo-labels',
                  disable=not show_progress) as bar, ThreadPoolExecutor(1) as thread:
            written = ((thread.submit(writer.write, rows, labels, readable), len(rows), faults)
                       for rows, labels, readable, faults in _labelled(
                           labeler, source, zip(batches, loader, strict=True)))
            for writing, number, faults in late(written, _UNWRITTEN):
                writing.result()
                unreadable += faults
                bar.update(number)
        store = writer.finish()
    warn_unreadable(unreadable, len(todo))  # they count as rejected
    if store is not None:
        store.verify()
        logger.info(f'labels of {len(store)} images in {store.path}: {summarize(store)}')
    return store


def _to_canvas(images: list[np.ndarray], size: tuple[int, int]) -> Tensor:
    return to_canvas([image[..., ::-1] for image in images], size)


def _labelled(labeler: CLIPLabeler, source: ImageSource, batches: Iterable[tuple]
              ) -> Iterator[tuple]:
    """Rows, their labels, which of them could be read, and what is wrong with the others."""
    def see(batch: tuple) -> Seen | None:
        kept, images, _ = batch
        return labeler.see(images, [source.names[row] for row in kept]) if kept else None

    def name_regions(seen: Seen | None) -> Download | None:
        return None if seen is None else labeler.name_regions(seen).download()

    seen = ((rows, batch, see(batch)) for rows, batch in batches)
    named = ((rows, batch, name_regions(one)) for rows, batch, one in late(seen))
    for rows, (kept, _, faults), download in late(named):
        readable = np.isin(rows, kept)
        labels = PseudoLabels.empty(len(rows), labeler.grid, labeler.settings.cluster_numbers,
                                    len(labeler.vocabulary.attributes))
        if download is not None:
            for field, values in download.wait().items():
                getattr(labels, field)[readable] = values
        yield rows, labels, readable, faults


def summarize(store: LabelStore) -> str:
    """The share of images that each filter keeps, and of attributes that are sure."""
    arrays, settings = store.arrays, store.settings
    spatial = np.asarray(arrays['foreground']) > settings.min_foreground
    semantic = np.asarray(arrays['person_cosine']) > settings.min_person_cosine
    kept = spatial & semantic
    sure = (np.asarray(arrays['attr_conf'])[kept] > 0.5).mean() if kept.any() else 0.0
    return (f'{spatial.mean():.1%} pass the foreground filter, {semantic.mean():.1%} the person '
            f'filter, {kept.mean():.1%} both; {sure:.1%} of the attributes of those are sure')
