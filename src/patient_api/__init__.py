"""The code of the Lambda functions.

`handlers` hold the entry points, and `bootstrap` composes what they invoke. `http` parses requests and builds
responses; `patients`, `documents`, `search` and `discovery` are the services; `store`, `audit` and `region` use AWS.
`contract` holds the facts that the rest of the project shares.
"""
