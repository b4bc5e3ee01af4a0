"""The API as it is usually built: FastAPI with Mangum, pydantic models, boto3. The yardstick of cold starts.

It makes the same calls of DynamoDB for a read, a create, an update and a search as the platform's own API, and can do
less: no patch, no search by form, no completion of uploads, no sort, no cursors, fewer of FHIR's rules. Each of these
would make it slower.
"""
