"""The tables at the head of a label report's page."""

from __future__ import annotations

import html
from collections.abc import Mapping

from clasp_mm.visualization.pages import html_table

from .reliability import UNUSABLE, USABLE, WEAK

_FEW = 100
_COLOURS = {USABLE: '#1a7f37', WEAK: '#9a6700', UNUSABLE: '#cf222e'}


def summary_html(result: Mapping) -> str:
    """Tables of what ``report_labels`` measured, the verdicts first."""
    verdicts = _verdicts(result['reliability']) if 'reliability' in result else ''
    tables = [_overview(result), _part_iou(result['parts']),
              _accuracy(result['attributes'])]
    return f'{verdicts}<section>{"".join(tables)}</section>{_confidences(result)}'


def _show(value: float | None) -> str:
    return '<span class="no">-</span>' if value is None else f'{value:.3f}'


def _overview(result: Mapping) -> str:
    kept, rejected, limits = result['kept'], result['rejected'], result['thresholds']
    spread = {name: '' if values is None else ' ({:.2f} | {:.2f} | {:.2f})'.format(*values)
              for name, values in result['filter_scores'].items()}
    rows = [
        ('images', str(result['num_images'])), ('CLIP', html.escape(result['clip'])),
        ('teacher', html.escape(result['teacher'])),
        ('pass the foreground filter', f'{_show(kept["foreground"])}'),
        (f'foreground share (needs > {limits["foreground"]}; 5 | 50 | 95 %)',
         spread['foreground']),
        ('pass the person filter', f'{_show(kept["person"])}'),
        (f'person cosine (needs > {limits["person_cosine"]}; 5 | 50 | 95 %)',
         spread['person_cosine']),
        ('<b>kept: pass both</b>', f'<b>{_show(kept["both"])}</b>'),
        *((f'rejected: {name.replace("_", " ")}', str(count)) for name, count in rejected.items()),
        *((text, _show(result[key])) for text, key in (
            ('foreground IoU', 'foreground_iou'), ('mean part IoU over all k', 'mean_iou'))
          if result[key] is not None)]
    return html_table(('', ''), rows)


def _verdicts(reliability: Mapping) -> str:
    def mark(entry: Mapping) -> str:
        return f'<b style="color:{_COLOURS[entry["verdict"]]}">{entry["verdict"]}</b>'

    size = reliability['image_size']
    of = '' if size is None else f', typically {size[0]:.0f} x {size[1]:.0f} pixels'
    few = (' <b>These are few images: take the verdicts as a hint.</b>'
           if reliability['num_images'] < _FEW else '')
    attributes = html_table(
        ('attribute', 'verdict', 'why', 'entropy', 'agreement across texts', 'most common', ''),
        [(html.escape(name), mark(entry), html.escape(entry['reason']), _show(entry['entropy']),
          _show(entry['agreement']), html.escape(entry['most_common']),
          _show(entry['most_common_share']))
         for name, entry in reliability['attributes'].items()])
    parts = html_table(
        ('part', 'verdict', 'why', 'found in', 'confidence', 'agreement across texts',
         'across k', 'side, px'),
        [(html.escape(name), mark(entry), html.escape(entry['reason']), _show(entry['found']),
          _show(entry['confidence']), _show(entry['agreement']),
          _show(entry['agreement_across_k']),
          '-' if entry['side'] is None else f'{entry["side"]:.0f}')
         for name, entry in reliability['parts'].items()])
    return (f'<h2>Can these labels be used?</h2><p>Judged without the truth, on the '
            f'{reliability["num_images"]} images that pass both filters{of}. Entropy: 0 sure, 1 '
            'blind. Agreement: Cohen\'s kappa with the same question in other words, and between '
            'cluster numbers; 1 always, 0 by chance. CLIP may agree with itself and be wrong: look '
            f'at the pictures.{few}</p><section>{attributes}{parts}</section>')


def _part_iou(parts: Mapping) -> str:
    if not all('named_iou' in entry for entry in parts.values()):
        return ''
    names = next(iter(parts.values()))['named_iou']
    rows = [(html.escape(name), *(_show(entry['named_iou'][name]) for entry in parts.values()),
             *(_show(entry['best_iou'][name]) for entry in parts.values())) for name in names]
    rows += [('mean', *(_show(e['named_mean_iou']) for e in parts.values()),
              *(_show(e['best_mean_iou']) for e in parts.values())),
             *((text, *(_show(e[key]) for e in parts.values()), *[''] * len(parts))
               for text, key in (('regions named right', 'regions_named_right'),
                                 ('of those above 0.5', 'sure_regions_named_right')))]
    return html_table(('part IoU', *(f'k = {k}' for k in parts),
                       *(f'k = {k}, named by the truth' for k in parts)), rows)


def _accuracy(attributes: Mapping) -> str:
    """Of each attribute, or where no truth is known only how many are kept."""
    columns = dict(accuracy='accuracy', kept_accuracy='of kept', balanced_accuracy='balanced',
                   most_common='most common value')
    if attributes['accuracy'] is None:
        columns = {}
    columns['kept'] = 'kept'
    rows = [(html.escape(name), *(_show(entry[key]) for key in columns))
            for name, entry in attributes['per_attribute'].items()]
    mean = ('mean', *('' if key == 'most_common' else _show(attributes[key]) for key in columns))
    return html_table(('attribute', *columns.values()), [*rows, mean])


def _confidences(result: Mapping) -> str:
    return html_table(
        ('share of confidences in', *(f'0.{i}-{(i + 1) / 10}' for i in range(10))),
        [(f'parts, k = {k}', *map(_show, entry['confidence']))
         for k, entry in result['parts'].items()]
        + [('attributes', *map(_show, result['attributes']['confidence']))])
