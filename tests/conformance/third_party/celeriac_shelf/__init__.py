"""Celeriac on a folder of files: ``shelf:////var/lib/my-queue``."""
