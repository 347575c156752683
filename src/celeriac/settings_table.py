"""Every setting by name: ours, and all of Celery's, so that a known name is never mistaken for a typo.

One row per setting: name, kind of value (see `settings_check`), default, old upper-case name, status, meaning. For a
setting without a meaning here, the last column says what stands in its place.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

Status = Literal["used", "later", "moot"]
"""`used`: has its effect. `later`: accepted, without effect in this version. `moot`: has no meaning here."""


class Setting(Struct, frozen=True):
    """One known setting."""

    name: str
    kind: str | tuple[str, ...]
    """A kind of `settings_check.KINDS`, a ``?`` behind it for None; or the allowed words."""
    default: Any
    old: str
    """The upper-case name of earlier times, or nothing."""
    status: Status
    meaning: str
    """What it does; for a moot one, what stands in its place."""


_USED: Status = "used"
_LATER: Status = "later"
_MOOT: Status = "moot"

# One row per line, however long: this is a table to search, not code to read.
# fmt: off
_ROWS: tuple[Setting, ...] = (
    # this package
    Setting("worker_lease_s", "secs", 6.0, "", _USED, "how long what a silent worker holds is kept from others, in seconds"),
    Setting("worker_shutdown_grace_s", "secs?", 25.0, "", _USED, "how long a warm shutdown lets running tasks go on; None: as long as they take"),
    Setting("task_crash_limit", "positive", 3, "", _USED, "so many deaths of the process that ran it, and a task is a dead letter"),
    Setting("task_unknown", ("park", "fail"), "park", "", _USED, "what becomes of a task whose name no module registers"),
    Setting("task_body_bytes_max", "positive?", None, "", _USED, "largest encoded body of a task or result in bytes; None: no limit of ours"),
    Setting("worker_start", ("fork", "exec", "auto"), "auto", "", _USED, "how children of a worker are started"),
    Setting("worker_async_slots", "positive", 1000, "", _USED, "how many coroutines one asyncio child runs at once; -P asyncio alone takes worker_concurrency, if that is set"),
    Setting("worker_log_json", "flag", False, "", _USED, "log lines as JSON objects"),
    Setting("broker_durability", ("process", "power"), "process", "", _USED, "what an accepted task survives on SQLite: the death of processes, or of power"),
    Setting("dead_letter_expires_s", "secs?", 2592000.0, "", _USED, "lifetime of dead letters"),
    # general
    Setting("accept_content", "texts", ("json",), "CELERY_ACCEPT_CONTENT", _USED, "content types or serializer names a worker or client will decode"),
    Setting("enable_utc", "flag", True, "ENABLE_UTC", _USED, "dates in messages are UTC"),
    Setting("imports", "texts", (), "CELERY_IMPORTS", _USED, "modules imported at worker start"),
    Setting("include", "texts", (), "CELERY_INCLUDE", _USED, "further modules, imported after imports"),
    Setting("timezone", "text?", None, "CELERY_TIMEZONE", _USED, "zone of times without one; None means UTC"),
    # arangodb
    Setting("arangodb_backend_settings", "any?", None, "CELERY_ARANGODB_BACKEND_SETTINGS", _LATER, "dict host, port, http_protocol, database, collection, username, password, verify"),
    # azureblockblob
    Setting("azureblockblob_base_path", "text?", "", "AZUREBLOCKBLOB_BASE_PATH", _LATER, "prefix of blob names"),
    Setting("azureblockblob_connection_timeout", "number?", 20, "AZUREBLOCKBLOB_CONNECTION_TIMEOUT", _LATER, "connect timeout s"),
    Setting("azureblockblob_container_name", "text?", "celery", "AZUREBLOCKBLOB_CONTAINER_NAME", _LATER, "container"),
    Setting("azureblockblob_read_timeout", "number?", 120, "AZUREBLOCKBLOB_READ_TIMEOUT", _LATER, "read timeout s"),
    Setting("azureblockblob_retry_increment_base", "number?", 2, "AZUREBLOCKBLOB_RETRY_INCREMENT_BASE", _LATER, "back-off base s"),
    Setting("azureblockblob_retry_initial_backoff_sec", "number?", 2, "AZUREBLOCKBLOB_RETRY_INITIAL_BACKOFF_SEC", _LATER, "first back-off s"),
    Setting("azureblockblob_retry_max_attempts", "number?", 3, "AZUREBLOCKBLOB_RETRY_MAX_ATTEMPTS", _LATER, "tries"),
    # beat
    Setting("beat_cron_starting_deadline", "any?", None, "CELERYBEAT_CRON_STARTING_DEADLINE", _LATER, "how far back (s) an overdue crontab may still run"),
    Setting("beat_max_loop_interval", "number?", 0, "CELERYBEAT_MAX_LOOP_INTERVAL", _LATER, "longest sleep; 0 means scheduler default (300 s)"),
    Setting("beat_schedule", "map", {}, "CELERYBEAT_SCHEDULE", _LATER, "periodic entries"),
    Setting("beat_schedule_filename", "text?", "celerybeat-schedule", "CELERYBEAT_SCHEDULE_FILENAME", _LATER, "shelve file of PersistentScheduler"),
    Setting("beat_scheduler", "text?", "celery.beat:PersistentScheduler", "CELERYBEAT_SCHEDULER", _LATER, "scheduler class or alias"),
    Setting("beat_sync_every", "number?", 0, "CELERYBEAT_SYNC_EVERY", _LATER, "tasks between forced syncs; 0 means by time"),
    # broker
    Setting("broker_channel_error_retry", "flag", False, "BROKER_CHANNEL_ERROR_RETRY", _MOOT, "the worker reconnects whatever broke"),
    Setting("broker_connection_max_retries", "number?", 100, "BROKER_CONNECTION_MAX_RETRIES", _LATER, "tries before giving up; None or 0 forever"),
    Setting("broker_connection_retry", "flag", True, "BROKER_CONNECTION_RETRY", _LATER, "reconnect after loss"),
    Setting("broker_connection_retry_on_startup", "flag?", None, "BROKER_CONNECTION_RETRY_ON_STARTUP", _LATER, "retry at first connect; None follows broker_connection_retry"),
    Setting("broker_connection_timeout", "secs", 4, "BROKER_CONNECTION_TIMEOUT", _USED, "longest wait for the broker before an error, in seconds"),
    Setting("broker_failover_strategy", "any?", None, "BROKER_FAILOVER_STRATEGY", _LATER, "how the next URL is picked; None is round-robin"),
    Setting("broker_heartbeat", "number?", 120, "BROKER_HEARTBEAT", _LATER, "AMQP heartbeat s; 0/None off"),
    Setting("broker_heartbeat_checkrate", "number?", 3.0, "BROKER_HEARTBEAT_CHECKRATE", _LATER, "checks per heartbeat period"),
    Setting("broker_host", "any?", None, "BROKER_HOST", _MOOT, "write it into broker_url"),
    Setting("broker_login_method", "any?", None, "BROKER_LOGIN_METHOD", _LATER, "AMQP login method"),
    Setting("broker_native_delayed_delivery_queue_type", "text?", "quorum", "BROKER_NATIVE_DELAYED_DELIVERY_QUEUE_TYPE", _LATER, "queue type for delay queues (quorum, classic)"),
    Setting("broker_password", "any?", None, "BROKER_PASSWORD", _MOOT, "write it into broker_url"),
    Setting("broker_pool_acquire_timeout", "any?", None, "BROKER_POOL_ACQUIRE_TIMEOUT", _MOOT, "each process has one connection; broker_connection_timeout bounds the wait for it"),
    Setting("broker_pool_limit", "number?", 10, "BROKER_POOL_LIMIT", _MOOT, "each process has one connection, shared by its threads"),
    Setting("broker_port", "any?", None, "BROKER_PORT", _MOOT, "write it into broker_url"),
    Setting("broker_read_url", "any?", None, "BROKER_READ_URL", _USED, "URL for consuming"),
    Setting("broker_transport", "any?", None, "BROKER_TRANSPORT", _MOOT, "write it into broker_url"),
    Setting("broker_transport_options", "map", {}, "BROKER_TRANSPORT_OPTIONS", _USED, "options for the technology of the broker"),
    Setting("broker_url", "any?", None, "BROKER_URL", _USED, "where messages wait; None is sqlite:///celeriac.db"),
    Setting("broker_use_ssl", "flag", False, "BROKER_USE_SSL", _LATER, "True or dict of TLS options"),
    Setting("broker_user", "any?", None, "BROKER_USER", _MOOT, "write it into broker_url"),
    Setting("broker_vhost", "any?", None, "BROKER_VHOST", _MOOT, "write it into broker_url"),
    Setting("broker_write_url", "any?", None, "BROKER_WRITE_URL", _USED, "URL for publishing"),
    # cache
    Setting("cache_backend", "any?", None, "CELERY_CACHE_BACKEND", _LATER, "cache URL for the cache backend"),
    Setting("cache_backend_options", "map", {}, "CELERY_CACHE_BACKEND_OPTIONS", _LATER, "client options (pylibmc behaviours ...)"),
    # cassandra
    Setting("cassandra_auth_kwargs", "any?", None, "CASSANDRA_AUTH_KWARGS", _LATER, "arguments of the auth provider"),
    Setting("cassandra_auth_provider", "any?", None, "CASSANDRA_AUTH_PROVIDER", _LATER, "class name in cassandra.auth"),
    Setting("cassandra_bundle_path", "any?", None, "CASSANDRA_BUNDLE_PATH", _LATER, "declared name; code reads cassandra_secure_bundle_path"),
    Setting("cassandra_entry_ttl", "any?", None, "CASSANDRA_ENTRY_TTL", _LATER, "row TTL s"),
    Setting("cassandra_keyspace", "any?", None, "CASSANDRA_KEYSPACE", _LATER, "keyspace"),
    Setting("cassandra_options", "map?", {}, "CASSANDRA_OPTIONS", _LATER, "extra cluster options"),
    Setting("cassandra_port", "any?", None, "CASSANDRA_PORT", _LATER, "port (9042 effective)"),
    Setting("cassandra_read_consistency", "any?", None, "CASSANDRA_READ_CONSISTENCY", _LATER, "LOCAL_QUORUM effective"),
    Setting("cassandra_servers", "any?", None, "CASSANDRA_SERVERS", _LATER, "contact points"),
    Setting("cassandra_table", "any?", None, "CASSANDRA_TABLE", _LATER, "table"),
    Setting("cassandra_write_consistency", "any?", None, "CASSANDRA_WRITE_CONSISTENCY", _LATER, "LOCAL_QUORUM effective"),
    # control
    Setting("control_exchange", "text?", "celery", "CONTROL_EXCHANGE", _LATER, "base name of the pidbox exchange"),
    Setting("control_queue_durable", "flag", False, "CONTROL_QUEUE_DURABLE", _LATER, "durable control queues"),
    Setting("control_queue_exclusive", "flag", True, "CONTROL_QUEUE_EXCLUSIVE", _LATER, "exclusive control queues"),
    Setting("control_queue_expires", "number?", 10.0, "CONTROL_QUEUE_EXPIRES", _LATER, "idle deletion s"),
    Setting("control_queue_ttl", "number?", 300.0, "CONTROL_QUEUE_TTL", _LATER, "message TTL s"),
    # cosmosdbsql
    Setting("cosmosdbsql_collection_name", "text?", "celerycol", "COSMOSDBSQL_COLLECTION_NAME", _LATER, "collection"),
    Setting("cosmosdbsql_consistency_level", "text?", "Session", "COSMOSDBSQL_CONSISTENCY_LEVEL", _LATER, "consistency"),
    Setting("cosmosdbsql_database_name", "text?", "celerydb", "COSMOSDBSQL_DATABASE_NAME", _LATER, "database"),
    Setting("cosmosdbsql_max_retry_attempts", "number?", 9, "COSMOSDBSQL_MAX_RETRY_ATTEMPTS", _LATER, "tries on throttling"),
    Setting("cosmosdbsql_max_retry_wait_time", "number?", 30, "COSMOSDBSQL_MAX_RETRY_WAIT_TIME", _LATER, "max wait s"),
    # couchbase
    Setting("couchbase_backend_settings", "any?", None, "CELERY_COUCHBASE_BACKEND_SETTINGS", _LATER, "dict host, port, bucket, username, password"),
    # database
    Setting("database_create_tables_at_setup", "flag", True, "DATABASE_CREATE_TABLES_AT_SETUP", _LATER, "create tables at first use of backend"),
    Setting("database_engine_callback", "any?", None, "DATABASE_ENGINE_CALLBACK", _LATER, "function given the engine after creation"),
    Setting("database_engine_options", "map", {"pool_pre_ping": True, "pool_recycle": 3600}, "CELERY_RESULT_ENGINE_OPTIONS", _LATER, "SQLAlchemy create_engine options"),
    Setting("database_short_lived_sessions", "flag", False, "CELERY_RESULT_DB_SHORT_LIVED_SESSIONS", _LATER, "new session per operation"),
    Setting("database_table_names", "any?", None, "CELERY_RESULT_DB_TABLENAMES", _LATER, "dict task, group table names"),
    Setting("database_table_schemas", "any?", None, "DATABASE_TABLE_SCHEMAS", _LATER, "dict task, group schemas"),
    Setting("database_url", "any?", None, "CELERY_RESULT_DBURI", _LATER, "alternative to db+ URL"),
    # elasticsearch
    Setting("elasticsearch_max_retries", "any?", None, "CELERY_ELASTICSEARCH_MAX_RETRIES", _LATER, "client retries (3 effective)"),
    Setting("elasticsearch_retry_on_timeout", "any?", None, "CELERY_ELASTICSEARCH_RETRY_ON_TIMEOUT", _LATER, "retry on timeout"),
    Setting("elasticsearch_save_meta_as_text", "flag", True, "CELERY_ELASTICSEARCH_SAVE_META_AS_TEXT", _LATER, "store meta as text not as object"),
    Setting("elasticsearch_timeout", "any?", None, "CELERY_ELASTICSEARCH_TIMEOUT", _LATER, "timeout s (10 effective)"),
    # event
    Setting("event_exchange", "text?", "celeryev", "CELERY_EVENT_EXCHANGE", _LATER, "event exchange name"),
    Setting("event_queue_durable", "flag", False, "CELERY_EVENT_QUEUE_DURABLE", _LATER, "durable event queue"),
    Setting("event_queue_exclusive", "flag", True, "CELERY_EVENT_QUEUE_EXCLUSIVE", _LATER, "exclusive event queue"),
    Setting("event_queue_expires", "number?", 60.0, "CELERY_EVENT_QUEUE_EXPIRES", _LATER, "idle deletion s"),
    Setting("event_queue_prefix", "text?", "celeryev", "CELERY_EVENT_QUEUE_PREFIX", _LATER, "prefix of receiver queues"),
    Setting("event_queue_ttl", "number?", 5.0, "CELERY_EVENT_QUEUE_TTL", _LATER, "event TTL s"),
    Setting("event_serializer", "text?", "json", "CELERY_EVENT_SERIALIZER", _LATER, "event encoding"),
    # gcs
    Setting("gcs_base_path", "text?", "", "GCS_BASE_PATH", _LATER, "prefix"),
    Setting("gcs_bucket", "any?", None, "GCS_BUCKET", _LATER, "bucket"),
    Setting("gcs_project", "any?", None, "GCS_PROJECT", _LATER, "project"),
    Setting("gcs_ttl", "number?", 0, "GCS_TTL", _LATER, "object age s (0 none)"),
    # mongodb
    Setting("mongodb_backend_settings", "any?", None, "CELERY_MONGODB_BACKEND_SETTINGS", _LATER, "dict database, taskmeta_collection, groupmeta_collection, host, port, user, password, options"),
    # redis
    Setting("redis_backend_use_ssl", "any?", None, "CELERY_REDIS_BACKEND_USE_SSL", _LATER, "TLS dict"),
    Setting("redis_db", "any?", None, "CELERY_REDIS_DB", _LATER, "database number"),
    Setting("redis_host", "any?", None, "CELERY_REDIS_HOST", _LATER, "host"),
    Setting("redis_max_connections", "any?", None, "CELERY_REDIS_MAX_CONNECTIONS", _LATER, "pool limit"),
    Setting("redis_password", "any?", None, "CELERY_REDIS_PASSWORD", _LATER, "password"),
    Setting("redis_port", "any?", None, "CELERY_REDIS_PORT", _LATER, "port"),
    Setting("redis_retry_on_timeout", "flag", False, "CELERY_REDIS_RETRY_ON_TIMEOUT", _LATER, "retry after timeout"),
    Setting("redis_socket_connect_timeout", "any?", None, "CELERY_REDIS_SOCKET_CONNECT_TIMEOUT", _LATER, "connect timeout s"),
    Setting("redis_socket_keepalive", "flag", False, "CELERY_REDIS_SOCKET_KEEPALIVE", _LATER, "TCP keep-alive"),
    Setting("redis_socket_timeout", "number?", 120.0, "CELERY_REDIS_SOCKET_TIMEOUT", _LATER, "socket timeout s"),
    Setting("redis_username", "any?", None, "CELERY_REDIS_USERNAME", _LATER, "ACL user"),
    # result
    Setting("result_accept_content", "texts?", None, "RESULT_ACCEPT_CONTENT", _USED, "the same for results; None means accept_content"),
    Setting("result_backend", "any?", None, "CELERY_RESULT_BACKEND", _USED, 'where results are kept; None follows broker_url; "disabled" keeps none'),
    Setting("result_backend_always_retry", "flag", False, "CELERY_RESULT_BACKEND_ALWAYS_RETRY", _LATER, "retry recoverable store errors"),
    Setting("result_backend_base_sleep_between_retries_ms", "number?", 10, "CELERY_RESULT_BACKEND_BASE_SLEEP_BETWEEN_RETRIES_MS", _LATER, "first pause ms"),
    Setting("result_backend_max_retries", "any?", None, "CELERY_RESULT_BACKEND_MAX_RETRIES", _LATER, "tries"),
    Setting("result_backend_max_sleep_between_retries_ms", "number?", 10000, "CELERY_RESULT_BACKEND_MAX_SLEEP_BETWEEN_RETRIES_MS", _LATER, "pause cap ms"),
    Setting("result_backend_transport_options", "map", {}, "CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS", _USED, "options for the technology of the backend"),
    Setting("result_cache_max", "number?", -1, "CELERY_MAX_CACHED_RESULTS", _MOOT, "results are read when asked for"),
    Setting("result_chord_join_timeout", "number?", 3.0, "CELERY_RESULT_CHORD_JOIN_TIMEOUT", _MOOT, "joins are counted in the store, nothing waits for them"),
    Setting("result_chord_retry_interval", "number?", 1.0, "CELERY_RESULT_CHORD_RETRY_INTERVAL", _MOOT, "joins are counted in the store, nothing polls them"),
    Setting("result_compression", "text?", None, "CELERY_RESULT_COMPRESSION", _LATER, "result compression"),
    Setting("result_exchange", "text?", "celeryresults", "CELERY_RESULT_EXCHANGE", _MOOT, "results do not travel through an exchange"),
    Setting("result_exchange_type", "text?", "direct", "CELERY_RESULT_EXCHANGE_TYPE", _MOOT, "results do not travel through an exchange"),
    Setting("result_expires", "secs?", 86400, "CELERY_TASK_RESULT_EXPIRES", _USED, "lifetime of results; None/0 forever"),
    Setting("result_extended", "flag", False, "CELERY_RESULT_EXTENDED", _USED, "store name, args, kwargs, worker, retries, queue"),
    Setting("result_persistent", "flag?", None, "CELERY_RESULT_PERSISTENT", _LATER, "persistent rpc result messages"),
    Setting("result_serializer", "text", "json", "CELERY_RESULT_SERIALIZER", _USED, "result encoding"),
    # s3
    Setting("s3_access_key_id", "any?", None, "S3_ACCESS_KEY_ID", _LATER, "key id"),
    Setting("s3_base_path", "any?", None, "S3_BASE_PATH", _LATER, "prefix"),
    Setting("s3_bucket", "any?", None, "S3_BUCKET", _LATER, "bucket"),
    Setting("s3_endpoint_url", "any?", None, "S3_ENDPOINT_URL", _LATER, "custom endpoint"),
    Setting("s3_region", "any?", None, "S3_REGION", _LATER, "region"),
    Setting("s3_secret_access_key", "any?", None, "S3_SECRET_ACCESS_KEY", _LATER, "secret"),
    # security
    Setting("security_cert_store", "any?", None, "CELERY_SECURITY_CERT_STORE", _LATER, "directory/glob of trusted certificates"),
    Setting("security_certificate", "any?", None, "CELERY_SECURITY_CERTIFICATE", _LATER, "own certificate"),
    Setting("security_digest", "text?", "sha256", "CELERY_SECURITY_DIGEST", _LATER, "hash for signatures"),
    Setting("security_key", "any?", None, "CELERY_SECURITY_KEY", _LATER, "own private key file"),
    Setting("security_key_password", "any?", None, "CELERY_SECURITY_KEY_PASSWORD", _LATER, "password of the key"),
    # task
    Setting("task_acks_late", "flag?", None, "CELERY_ACKS_LATE", _USED, "False: acknowledge at the start (at most once); None and True: after the run"),
    Setting("task_acks_on_failure", "flag?", None, "CELERY_ACKS_ON_FAILURE", _USED, "late-ack tasks: ack on exception (None is True)"),
    Setting("task_acks_on_failure_or_timeout", "flag?", None, "CELERY_ACKS_ON_FAILURE_OR_TIMEOUT", _USED, "deprecated combined switch"),
    Setting("task_acks_on_timeout", "flag?", None, "CELERY_ACKS_ON_TIMEOUT", _USED, "late-ack tasks: ack on timeout (None is True)"),
    Setting("task_allow_error_cb_on_chord_header", "flag", False, "CELERY_ALLOW_ERROR_CB_ON_CHORD_HEADER", _LATER, "chord error callback on header tasks too"),
    Setting("task_always_eager", "flag", False, "CELERY_ALWAYS_EAGER", _USED, "run locally"),
    Setting("task_annotations", "any?", None, "CELERY_ANNOTATIONS", _LATER, "rewrite task attributes"),
    Setting("task_compression", "text?", None, "CELERY_MESSAGE_COMPRESSION", _USED, "message compression"),
    Setting("task_create_missing_queue_exchange_type", "any?", None, "CELERY_CREATE_MISSING_QUEUE_EXCHANGE_TYPE", _LATER, "exchange type of auto queues"),
    Setting("task_create_missing_queue_type", "text?", "classic", "CELERY_CREATE_MISSING_QUEUE_TYPE", _LATER, "classic or quorum for auto queues"),
    Setting("task_create_missing_queues", "flag", True, "CELERY_CREATE_MISSING_QUEUES", _USED, "create unknown queues"),
    Setting("task_default_delivery_mode", "number?", 2, "CELERY_DEFAULT_DELIVERY_MODE", _LATER, "2 persistent, 1 transient"),
    Setting("task_default_exchange", "any?", None, "CELERY_DEFAULT_EXCHANGE", _LATER, "None takes queue name"),
    Setting("task_default_exchange_type", "text?", "direct", "CELERY_DEFAULT_EXCHANGE_TYPE", _LATER, "type of default exchange"),
    Setting("task_default_priority", "priority?", None, "CELERY_DEFAULT_PRIORITY", _USED, "priority if none given"),
    Setting("task_default_queue", "text", "celery", "CELERY_DEFAULT_QUEUE", _USED, "default queue name"),
    Setting("task_default_queue_type", "text?", "classic", "CELERY_DEFAULT_QUEUE_TYPE", _LATER, "classic or quorum for the default queue"),
    Setting("task_default_rate_limit", "any?", None, "CELERY_DEFAULT_RATE_LIMIT", _LATER, "global default rate"),
    Setting("task_default_routing_key", "any?", None, "CELERY_DEFAULT_ROUTING_KEY", _LATER, "None takes queue name"),
    Setting("task_eager_propagates", "flag", False, "CELERY_EAGER_PROPAGATES_EXCEPTIONS", _USED, "eager errors are raised"),
    Setting("task_ignore_result", "flag", False, "CELERY_IGNORE_RESULT", _USED, "do not store results"),
    Setting("task_inherit_parent_priority", "flag", False, "CELERY_INHERIT_PARENT_PRIORITY", _USED, "children take parent's priority"),
    Setting("task_protocol", "number?", 2, "CELERY_TASK_PROTOCOL", _LATER, "message protocol 2 or 1"),
    Setting("task_publish_retry", "flag", True, "CELERY_TASK_PUBLISH_RETRY", _USED, "retry publishing"),
    Setting("task_publish_retry_policy", "map?", {"max_retries": 3, "interval_start": 0, "interval_max": 1, "interval_step": 0.2}, "CELERY_TASK_PUBLISH_RETRY_POLICY", _USED, "max_retries, interval_start, interval_step, interval_max, retry_errors of the retries of a send"),
    Setting("task_queue_max_priority", "any?", None, "CELERY_QUEUE_MAX_PRIORITY", _LATER, "x-max-priority for queues without one"),
    Setting("task_queues", "any?", None, "CELERY_QUEUES", _USED, "queues the worker consumes"),
    Setting("task_reject_on_worker_lost", "flag?", None, "CELERY_REJECT_ON_WORKER_LOST", _USED, "requeue on child loss"),
    Setting("task_remote_tracebacks", "flag", False, "CELERY_REMOTE_TRACEBACKS", _MOOT, "errors raised by get() carry the worker's traceback as text"),
    Setting("task_routes", "any?", None, "CELERY_ROUTES", _USED, "routers"),
    Setting("task_send_sent_event", "flag", False, "CELERY_SEND_TASK_SENT_EVENT", _LATER, "emit task-sent"),
    Setting("task_serializer", "text", "json", "CELERY_TASK_SERIALIZER", _USED, "task encoding"),
    Setting("task_soft_time_limit", "secs?", None, "CELERYD_TASK_SOFT_TIME_LIMIT", _USED, "soft limit s"),
    Setting("task_store_eager_result", "flag", False, "CELERY_STORE_EAGER_RESULT", _USED, "store eager results"),
    Setting("task_store_errors_even_if_ignored", "flag", False, "CELERY_STORE_ERRORS_EVEN_IF_IGNORED", _USED, "store failures anyway"),
    Setting("task_time_limit", "secs?", None, "CELERYD_TASK_TIME_LIMIT", _USED, "hard limit s"),
    Setting("task_track_started", "flag", False, "CELERY_TRACK_STARTED", _USED, "report STARTED"),
    # worker
    Setting("worker_agent", "any?", None, "CELERYD_AGENT", _MOOT, "the worker has no agents"),
    Setting("worker_autoscaler", "text?", "celery.worker.autoscale:Autoscaler", "CELERYD_AUTOSCALER", _LATER, "autoscaler class"),
    Setting("worker_cancel_long_running_tasks_on_connection_loss", "flag", False, "CELERYD_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS", _MOOT, "a run whose lease was lost is always interrupted"),
    Setting("worker_concurrency", "count?", None, "CELERYD_CONCURRENCY", _USED, "processes of prefork, threads of threads; None is one per core"),
    Setting("worker_consumer", "text?", "celery.worker.consumer:Consumer", "CELERYD_CONSUMER", _MOOT, "the worker's engine is not replaced by a class"),
    Setting("worker_deduplicate_successful_tasks", "flag", False, "CELERYD_DEDUPLICATE_SUCCESSFUL_TASKS", _MOOT, "late settlements of an old attempt are refused by the broker"),
    Setting("worker_detect_quorum_queues", "flag", True, "CELERYD_DETECT_QUORUM_QUEUES", _LATER, "switch off global QoS when needed"),
    Setting("worker_direct", "flag", False, "CELERY_WORKER_DIRECT", _LATER, "per-worker queue"),
    Setting("worker_disable_prefetch", "flag", False, "CELERYD_DISABLE_PREFETCH", _MOOT, "prefetch adapts to the length of tasks and is taken back; worker_prefetch_multiplier=1 pins it"),
    Setting("worker_disable_rate_limits", "flag", False, "CELERY_DISABLE_RATE_LIMITS", _LATER, "ignore rate limits"),
    Setting("worker_enable_prefetch_count_reduction", "flag", True, "CELERYD_ENABLE_PREFETCH_COUNT_REDUCTION", _MOOT, "what a lost connection held goes back to the broker by its lease"),
    Setting("worker_enable_remote_control", "flag", True, "CELERY_ENABLE_REMOTE_CONTROL", _LATER, "accept control commands"),
    Setting("worker_enable_soft_shutdown_on_idle", "flag", False, "CELERYD_ENABLE_SOFT_SHUTDOWN_ON_IDLE", _MOOT, "worker_shutdown_grace_s"),
    Setting("worker_eta_task_limit", "any?", None, "CELERYD_ETA_TASK_LIMIT", _MOOT, "delayed messages stay in the broker, not in the worker"),
    Setting("worker_hijack_root_logger", "flag", True, "CELERYD_HIJACK_ROOT_LOGGER", _LATER, "configure the root logger"),
    Setting("worker_log_color", "flag?", None, "CELERYD_LOG_COLOR", _USED, "colour on/off; None is by terminal"),
    Setting("worker_log_format", "text", "", "CELERYD_LOG_FORMAT", _USED, "format of log lines; empty takes the one of this package"),
    Setting("worker_lost_wait", "number?", 10.0, "CELERYD_WORKER_LOST_WAIT", _MOOT, "the death of a child is seen at once"),
    Setting("worker_max_memory_per_child", "count?", None, "CELERYD_MAX_MEMORY_PER_CHILD", _USED, "KiB"),
    Setting("worker_max_tasks_per_child", "count?", None, "CELERYD_MAX_TASKS_PER_CHILD", _USED, "tasks"),
    Setting("worker_pool", "text", "prefork", "CELERYD_POOL", _USED, "prefork, threads, asyncio, solo, or several with commas, the default one first; unset, prefork and what tasks ask for beside it"),
    Setting("worker_pool_putlocks", "flag", True, "CELERYD_POOL_PUTLOCKS", _MOOT, "the worker reserves only what its slots can run soon"),
    Setting("worker_pool_restarts", "flag", False, "CELERYD_POOL_RESTARTS", _LATER, "allow pool_restart"),
    Setting("worker_prefetch_multiplier", "count?", None, "CELERYD_PREFETCH_MULTIPLIER", _USED, "messages reserved per slot; None adapts to the length of tasks"),
    Setting("worker_proc_alive_timeout", "number?", 4.0, "CELERYD_PROC_ALIVE_TIMEOUT", _MOOT, "a child may take as long as its imports last"),
    Setting("worker_redirect_stdouts", "flag", True, "CELERY_REDIRECT_STDOUTS", _USED, "stdout/stderr to log"),
    Setting("worker_redirect_stdouts_level", "text", "WARNING", "CELERY_REDIRECT_STDOUTS_LEVEL", _USED, "level for it"),
    Setting("worker_send_task_events", "flag", False, "CELERY_SEND_EVENTS", _LATER, "emit task events"),
    Setting("worker_soft_shutdown_timeout", "number?", 0.0, "CELERYD_SOFT_SHUTDOWN_TIMEOUT", _MOOT, "worker_shutdown_grace_s"),
    Setting("worker_state_db", "any?", None, "CELERYD_STATE_DB", _MOOT, "revokes are kept in the store"),
    Setting("worker_task_log_format", "text", "", "CELERYD_TASK_LOG_FORMAT", _USED, "the same for lines of tasks"),
    Setting("worker_timer", "any?", None, "CELERYD_TIMER", _MOOT, "the worker needs no timer class"),
    Setting("worker_timer_precision", "number?", 1.0, "CELERYD_TIMER_PRECISION", _MOOT, "delayed messages stay in the broker until they are due"),
    # without a declared default in Celery
    Setting("worker_logfile", "any?", None, "", _LATER, "daemon option of the worker"),
    Setting("worker_pidfile", "any?", None, "", _LATER, "daemon option of the worker"),
    Setting("worker_uid", "any?", None, "", _LATER, "daemon option of the worker"),
    Setting("worker_gid", "any?", None, "", _LATER, "daemon option of the worker"),
    Setting("worker_umask", "any?", None, "", _LATER, "daemon option of the worker"),
    Setting("worker_executable", "any?", None, "", _LATER, "daemon option of the worker"),
    Setting("beat_logfile", "any?", None, "", _LATER, "daemon option of beat"),
    Setting("beat_pidfile", "any?", None, "", _LATER, "daemon option of beat"),
    Setting("beat_uid", "any?", None, "", _LATER, "daemon option of beat"),
    Setting("beat_gid", "any?", None, "", _LATER, "daemon option of beat"),
    Setting("beat_umask", "any?", None, "", _LATER, "daemon option of beat"),
    Setting("beat_executable", "any?", None, "", _LATER, "daemon option of beat"),
    Setting("events_logfile", "any?", None, "", _LATER, "daemon option of events"),
    Setting("events_pidfile", "any?", None, "", _LATER, "daemon option of events"),
    Setting("events_uid", "any?", None, "", _LATER, "daemon option of events"),
    Setting("events_gid", "any?", None, "", _LATER, "daemon option of events"),
    Setting("events_umask", "any?", None, "", _LATER, "daemon option of events"),
    Setting("events_executable", "any?", None, "", _LATER, "daemon option of events"),
    Setting("override_backends", "map?", {}, "", _USED, "aliases of backends: name to class path"),
    Setting("result_backend_thread_safe", "flag", False, "", _MOOT, "a backend object is always shared by threads"),
    Setting("redis_backend_health_check_interval", "any?", None, "", _LATER, "seconds between health checks"),
    Setting("redis_backend_credential_provider", "any?", None, "", _LATER, "class path or object for credentials"),
    Setting("redis_client_name", "any?", None, "", _LATER, "name of the connection"),
    Setting("cassandra_secure_bundle_path", "any?", None, "", _LATER, "bundle of Astra DB, instead of cassandra_servers"),
    Setting("dynamodb_endpoint_url", "any?", None, "", _LATER, "address of a local endpoint"),
    Setting("gcs_threadpool_maxsize", "number?", 10, "", _LATER, "threads for reading many results"),
    Setting("firestore_project", "any?", None, "", _LATER, "project of the chord counter"),
    Setting("visibility_timeout", "any?", None, "", _MOOT, "leases are renewed while a task runs; worker_lease_s"),
)
# fmt: on

SETTINGS: dict[str, Setting] = {row.name: row for row in _ROWS}
"""All known settings by name."""

OLD_NAMES: dict[str, str] = {row.old: row.name for row in _ROWS if row.old}
"""Old upper-case name to the name of today."""
