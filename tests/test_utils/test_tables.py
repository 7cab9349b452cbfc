from clasp_mm.utils.tables import markdown_table, mean_std, number_or_dash


def test_a_table_in_markdown():
    assert markdown_table(['', 'a'], [['x', 1], ('y', 'two')]) == (
        '|  | a |\n|---|---|\n| x | 1 |\n| y | two |')


def test_spread_of_what_is_not_defined():
    assert mean_std([None, None]) == '-' and mean_std([2.25]) == '2.2'
    # mean (1 + 2 + 6) / 3 = 3, deviation sqrt((4 + 1 + 9) / 2) = 2.646
    assert mean_std([1., None, 2., 6.], '.2f') == '3.00 ± 2.65'


def test_a_figure_that_is_not_defined_is_a_dash():
    assert [number_or_dash(value) for value in (None, float('nan'), .25)] == ['-', '-', '0.250']
