"""The vocabulary of pgwarden: frozen types, standard library only, no input or output.

Everything else imports these words; this package imports nothing of ours.
"""
