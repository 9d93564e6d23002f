"""Meta-learning for PyTorch: a learner maps a small support set to a predictor.

adapt(params, support)   -> fast       what was learned from this task
predict(params, fast, x) -> scores     what the predictor says
"""

import lazy_loader

__version__ = "0.1.0"

# Names are imported when first used, so that `mapwise --help` starts without importing torch; __init__.pyi lists them.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
