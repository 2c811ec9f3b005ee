"""Container engines: where they keep their files, what they hold, and what of it is a tenant's."""
