"""Hold, judge, enforce.

This file stays empty of imports: the watchdog process starts through this package and must load
nothing but the standard library.
"""
