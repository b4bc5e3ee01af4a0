"""Deterministic simulation of both regions: the application code on simulated AWS services, driven by one seed.

| module | contains |
|---|---|
| `scheduler` | simulated time, and tasks that switch at AWS calls |
| `dynamodb`, `s3` | the services, with replication, streams and event notifications |
| `faults` | what fails, where and when, and the AWS client that experiences it |
| `platform` | the Lambda functions of both regions, as `patient_api.bootstrap` wires them, and their event sources |
| `clients` | what clients do, and what was acknowledged to them |
| `checks` | what must hold during and after a run |
| `run` | one run of a seed, and the search for the shortest list of steps that fails |
| `scenarios` | directed runs, which reach at once what few seeds reach |
"""
