"""Measure one cold start: `python -I -S -B cold.py TASK RUNTIME MODULE EVENT`.

Imports MODULE from the folder TASK, with boto3 from the folder RUNTIME, and calls its `handler` with EVENT, as Lambda
does. Prints the response and the milliseconds, without the start of Python itself. Runs as a file, so that only both
folders are on the path.
"""

import importlib
import json
import sys
import time

task, runtime, module, event = sys.argv[1:]
sys.path[:0] = [task, runtime]
call = json.loads(event)

began = time.perf_counter()
answer = importlib.import_module(module).handler(call, None)
milliseconds = (time.perf_counter() - began) * 1000

print(json.dumps({"milliseconds": milliseconds, "status": answer["statusCode"], "body": answer["body"]}))
