"""Runs blocks of Python from standard input as `python -m asyncio` would: `await` is allowed at their top level."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import sys
from types import ModuleType

page, blocks = sys.argv[1], json.load(sys.stdin)
module = sys.modules["__main__"] = ModuleType("__main__")
module.__file__ = "main.py"
with asyncio.Runner() as runner:
    for line, source in blocks:
        # a traceback names the line of the page
        padded = "\n" * (line - 1) + source
        code = compile(padded, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        result = eval(code, vars(module))
        if inspect.iscoroutine(result):
            runner.run(result)
