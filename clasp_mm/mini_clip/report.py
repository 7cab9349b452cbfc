"""The mini CLIP's accuracies as tables for the console."""

from rich.console import Group
from rich.table import Table


def report_tables(report: dict) -> Group:
    """Lay out the report of :func:`train_mini_clip`."""
    heldout = report['heldout']
    number = report['settings']['num_heldout']
    parts = Table(title=f'naming regions of {number} held-out people',
                  caption='rough: clusters of tokens, to be named by their largest part')
    for name in ('part', 'exact', 'regions', 'rough', 'regions'):
        parts.add_column(name, justify='left' if name == 'part' else 'right')
    exact, rough = heldout['regions'], heldout['rough_regions']
    for name, part in exact['parts'].items():
        other = rough['parts'][name]
        parts.add_row(name, _percent(part['accuracy'], part['regions']), str(part['regions']),
                      _percent(other['accuracy'], other['regions']), str(other['regions']))
    parts.add_section()
    parts.add_row('mean over parts', _percent(exact['mean_accuracy']), '',
                  _percent(rough['mean_accuracy']), '')
    parts.add_row('over regions', _percent(exact['accuracy']), '', _percent(rough['accuracy']), '')

    attributes = Table(title='attributes', caption='kept: the winner is above 0.5')
    for name in ('attribute', 'accuracy', 'commonest', 'balanced', 'kept', 'accuracy of kept'):
        attributes.add_column(name, justify='left' if name == 'attribute' else 'right')
    for name, item in heldout['attributes'].items():
        attributes.add_row(name, *(_percent(item[key]) for key in (
            'accuracy', 'majority', 'balanced_accuracy', 'kept', 'kept_accuracy')))
    person = heldout['person_filter']
    return Group(
        parts, attributes,
        f'person filter: keeps {_percent(person["people_kept"])} % of people '
        f'(mean cosine {person["people_cosine"]:.2f}), drops '
        f'{_percent(person["scenes_dropped"])} % of empty scenes '
        f'({person["scenes_cosine"]:.2f})',
        'seconds: ' + ', '.join(f'{name} {value:.0f}'
                                for name, value in report['seconds'].items())
        + f' with {report["threads"]} threads',
        report['note'])


def _percent(share: float, number: int = 1) -> str:
    return f'{100 * share:.1f}' if number else '-'
