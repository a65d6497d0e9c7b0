"""Test doubles that the services share. Nothing here is imported by a service itself.

ScriptedEngine   an engine that follows a script: known timing, gates, failures on demand
Script           its timing and its capacity
Gate             parks tasks until a test releases them

`python -m llm_contract.testing --port 0 --ttft 0.25 --gaps 0.4,0.1` runs one as a process of its own.
"""

from llm_contract.testing.backlog import full_backlog
from llm_contract.testing.gate import Gate
from llm_contract.testing.script import Script
from llm_contract.testing.scripted_engine import Received, ScriptedEngine

__all__ = ["Gate", "Received", "Script", "ScriptedEngine", "full_backlog"]
