"""The paper's ablation tables, and the systems that are compared in one frame."""

from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from clasp_mm.utils.resources import shipped_file

SOLIDER = 'configs/quickstart/solider_swin-nano_1xb32_synthetic-64x32.py'
QUICKSTART = 'configs/quickstart/clasp_pcmoe-swin-nano_1xb32_synthetic-64x32.py'


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        title: What the table calls it.
        config: Its config, relative to the repository; None for random weights.
        true_labels: Labels are those of the drawing in place of the teacher's and CLIP's.
    """

    title: str
    config: str | None
    true_labels: bool = False

    @property
    def key(self) -> str:
        """Name of its run: rows of several tables with one config share the run."""
        name = 'random' if self.config is None else Path(self.config).stem
        return f'{name}-true_labels' if self.true_labels else name


def _row(title: str, name: str) -> Row:
    return Row(title, f'configs/ablations/{name}.py')


_A, _F = _row('A: DINO', 'table1_a_dino'), _row('F: MG + PPL + PAL', 'table1_f_mg-ppl-pal')
_FULL = 'full'
TABLES: dict[str, tuple[Row, ...]] = {
    'I': (_A, _row('B: SG', 'table1_b_sg'), _row('C: MG', 'table1_c_mg'),
          _row('D: MG + PPL', 'table1_d_mg-ppl'), _row('E: PAL', 'table1_e_pal'), _F),
    'II': (_F, _row('G: SE + GG', 'table2_g_se-gg'), _row('H: PE + GG', 'table2_h_pe-gg'),
           _row('I: SE + PE + GG', 'table2_i_se-pe-gg'),
           _row('J: SE + PE + CG', 'table2_j_se-pe-cg'),
           _row('K: SE + PE + CG + GG', 'table2_k_se-pe-cg-gg'),
           _row('L: SE + PE + CG + GG + PR', 'table2_l_se-pe-cg-gg-pr')),
    'III': (_F, _row('one gate, last stage', 'table2_g_se-gg'),
            _row('many gates, last stage', 'table3_m_mg-ls'),
            _row('prompt-controlled gate, last stage', 'table2_l_se-pe-cg-gg-pr'),
            _row('one gate, all stages', 'table3_n_og-as'),
            _row('many gates, all stages', 'table3_o_mg-as'),
            _row('prompt-controlled gate, all stages', _FULL)),
    'IV': (_row('S = 3, 4, 5; n = 10; K = 6; M = 3', _FULL),
           _row('Var-1: S = 2, 3, 4', 'table4_var1_s234'),
           _row('Var-2: S = 4, 5, 6', 'table4_var2_s456'), _row('Var-3: n = 6', 'table4_var3_n6'),
           _row('Var-4: n = 12', 'table4_var4_n12'), _row('Var-5: K = 4', 'table4_var5_k4'),
           _row('Var-6: K = 8', 'table4_var6_k8'), _row('Var-7: M = 2', 'table4_var7_m2'),
           _row('Var-8: M = 6', 'table4_var8_m6'),
           _row('the other reading: n = 6, K = 3', 'table4_n6-k3')),
    'balance': tuple(_row(f'{title}, alpha = {alpha}', f'balance_{form}_a{alpha.replace(".", "")}')
                     for form, title, alphas in (
                         ('switch', 'Switch', ('0.01', '0.1', '1')),
                         ('importance_load', 'importance and load', ('0.003', '0.01', '0.1', '1')))
                     for alpha in alphas),
    'labels': tuple(row._replace(title=f'{name}, {kind} labels', true_labels=true)
                    for name, row in (('no PC-MoE', _F), ('CLASP', _row('', 'full')))
                    for kind, true in (("CLIP's", False), ('true', True))),
    'systems': (Row('random weights', None), Row('DINO', _A.config), Row('SOLIDER', SOLIDER),
                Row('DINO + pseudo-labels', _F.config),
                Row('CLASP', f'configs/ablations/{_FULL}.py')),
}


def quickstart_config(row: Row) -> Config:
    """A row's config at the quickstart's size.

    A config of configs/ablations is one line that names its base and what it changes: the same
    changes are put on the quickstart's config.

    Raises:
        ValueError: The config does not begin with its ``_base_``.
    """
    file = shipped_file(row.config)
    if file.parent.name != 'ablations':
        return Config.fromfile(file)
    first, rest = file.read_text('utf-8').split('\n', 1)
    if not first.startswith('_base_ = '):
        raise ValueError(f'{file} must begin with its _base_, it begins with {first!r}')
    return Config.fromstring(f'_base_ = {str(shipped_file(QUICKSTART))!r}\n{rest}', '.py')
