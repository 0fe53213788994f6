-- Over which key a certificate stands, so that a broker can be told which to refuse. None beside
-- those that were made before there was this: they are judged by when.
ALTER TABLE certificates ADD COLUMN device_key TEXT;
