"""The tabs of the page. A new command is one more file in this folder and its class in `TABS`."""

from .explain import ExplainTab
from .predict import PredictTab
from .propose import ProposeTab
from .scan import ScanTab
from .share import ShareTab
from .train import TrainTab

TABS = (TrainTab, PredictTab, ScanTab, ExplainTab, ProposeTab, ShareTab)
