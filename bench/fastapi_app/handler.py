"""Lambda's entry point."""

from mangum import Mangum

from bench.fastapi_app.app import app

handler = Mangum(app, lifespan="off", text_mime_types=["application/fhir+json", "application/json"])
