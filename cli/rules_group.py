"""``pgwarden rules``, with every command."""

from __future__ import annotations

from cli.backtest import backtest
from cli.rules import app
from cli.rules_sign import keygen, sign

__all__ = ["app"]

app.command("backtest")(backtest)
app.command("keygen")(keygen)
app.command("sign")(sign)
