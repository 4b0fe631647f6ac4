"""Why something failed, fit for a log: a pretty traceback shows variables, and so routing keys."""

import sys
import traceback


def cause_without_values() -> str:
    """Class and places of the exception being handled, without message and variables."""
    kind, _, trace = sys.exc_info()
    places = traceback.extract_tb(trace)[-4:]
    way = " > ".join(f"{place.name}:{place.lineno}" for place in places)
    return f"{kind.__name__ if kind else 'nothing'} at {way}"
