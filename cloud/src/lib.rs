//! The thin cloud: CA, MQTT endpoint, HTTP API, jobs.
