"""`milepost audit`: `commands`, and what they do on the host of the services: `acceptance`, `bundles`, `importing`."""
