"""The past: downsampled samples on disk, exports, and recorded incidents.

storage    head and history as one `Source`
store      chunks of samples at three resolutions, and a journal of the last minute
writer     from the head to the store, each second
chunk      one metric's series of some minutes, compressed
thin       which samples a coarser resolution keeps
levels     the resolutions
database   the SQLite file
recording  an incident in one file
replay     such a file in place of a collector
export     CSV and Parquet
"""

from llm_monitor.history.database import HistoryError
from llm_monitor.history.storage import Storage
from llm_monitor.history.store import Store
from llm_monitor.history.writer import History

__all__ = ["History", "HistoryError", "Storage", "Store"]
