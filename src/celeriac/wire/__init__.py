"""Bytes <-> model: message formats, serializers, compression, result records."""
