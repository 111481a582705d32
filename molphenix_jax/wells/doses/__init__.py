"""Doses in µM: read from whatever columns hold them, and put on one grid."""
