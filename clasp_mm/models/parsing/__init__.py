"""Human parsing on mmsegmentation, which this package imports: name it in ``custom_imports``."""

from .ce2p_head import CE2PHead
from .human_parser import HumanParser
from .self_correcting_parser import SelfCorrectingParser
from .tta import ParsingTTAModel
from .uper_head import UPerHead

__all__ = ['CE2PHead', 'HumanParser', 'ParsingTTAModel', 'SelfCorrectingParser', 'UPerHead']
