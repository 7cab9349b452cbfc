"""Sphinx settings of the documentation site."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ.update(COLUMNS='88', NO_COLOR='1')  # the helps of the commands page

from generate import fill_page  # noqa: E402

from clasp_mm import __version__  # noqa: E402

project = 'clasp_mm'
author = 'The clasp_mm contributors'
copyright = author
release = version = __version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx_copybutton']
source_suffix = {'.md': 'markdown', '.ipynb': 'markdown'}  # fill_page turns a notebook into text
exclude_patterns = ['_build']
myst_enable_extensions = ['deflist', 'fieldlist']
myst_heading_anchors = 3
nitpick_ignore_regex = [('py:.*', '.*')]  # types of torch and of the hosts

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'  # the signature has them
python_maximum_signature_line_length = 80
napoleon_use_rtype = False
copybutton_prompt_text = '$ '
copybutton_line_continuation_character = '\\'

html_theme = 'furo'
html_title = f'clasp_mm {__version__}'
html_static_path = ['_static']
html_css_files = ['site.css']
html_show_copyright = False


def setup(app):  # noqa: D103
    app.connect('source-read', fill_page)
