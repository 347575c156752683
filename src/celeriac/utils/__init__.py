"""Public modules that bear Celery's names; nothing of ours is kept here."""
