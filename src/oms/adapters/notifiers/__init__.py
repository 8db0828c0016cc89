"""Notifiers of customers."""
