"""Embedded Valkey and PostgreSQL: real servers out of wheels, run as child processes.

    with EmbeddedValkey() as valkey, EmbeddedPostgres() as postgres:
        redis = Redis.from_url(valkey.url)
        connection = psycopg.connect(postgres.dsn)

They are for tests, demos and development on one machine: they listen on 127.0.0.1 only. Needs the
``embedded`` extra.
"""

from __future__ import annotations

from ._child import EmbeddedServer, EmbeddedServerError, free_port
from ._postgres import EmbeddedPostgres
from ._valkey import EmbeddedValkey

__all__ = [
    "EmbeddedPostgres",
    "EmbeddedServer",
    "EmbeddedServerError",
    "EmbeddedValkey",
    "free_port",
]
