"""The only package that speaks SQL: one file a subject, the same statements on SQLite and PostgreSQL."""
