from .run import Options, run_quickstart

__all__ = ['Options', 'run_quickstart']
