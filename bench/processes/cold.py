"""One cold start: `python -I -S -B cold.py TASK RUNTIME MODULE EVENT`, run as a file, with nothing else on the path.

Imports MODULE from the folder TASK, with boto3 from the folder RUNTIME, and has its `handler` answer EVENT, as Lambda
does. The last line printed holds the milliseconds, which leave out the start of Python itself, and the answer.
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
