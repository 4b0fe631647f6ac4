"""What the record gives back is what the rules saw on the host: all examples of all packs, judged
there and judged from the store, agree."""

import time
from dataclasses import replace
from datetime import datetime, timedelta

from agent.sql.client import ParserClient
from agent.wire.batch import BatchBuilder, to_wire
from collector.backtest import backtest, not_stored
from collector.intake import decode_batch, decode_message
from collector.store import Store
from collector.submission import Submission
from collector.views import open_views
from model.session import BackendKey
from model.statement import Source, Statement
from rules import RuleSet, View

NOW_US = time.time_ns() // 1000


def examples(rules: RuleSet):
    """Each with a session of its own."""
    for number, example in enumerate(e for rule in rules.rules for e in rule.examples):
        session = replace(example.session, key=BackendKey(number + 1, NOW_US), superuser=None)
        yield number + 1, example.sql.encode("utf-8", "replace"), session


def test_every_example_of_the_packs_is_judged_alike_on_the_host_and_from_the_record(tmp_path):
    rules = RuleSet.load()
    untold = not_stored(rules)
    rules = rules.only({rule.id for rule in rules.rules} - untold.keys())
    assert len(rules.rules) > len(untold)
    expected = {rule.id: 0 for rule in rules.rules}
    builder = BatchBuilder()
    with ParserClient() as parser:
        for number, text, session in examples(rules):
            (shape,) = parser.shapes([text], [len(text)])
            for match in rules.judge(View(shape, session, len(text))):
                expected[match.rule.id] += 1
            ran = Statement(number, session, text, len(text), NOW_US, Source.EBPF, sqlstate="00000")
            builder.add_session(session, NOW_US)
            builder.add(ran, shape)
    store = Store(tmp_path, commit_seconds=0.01)
    store.start()
    for sequence, payload in enumerate(builder.take(), 1):
        batch = decode_message(to_wire(payload.body, 1, sequence)).batch
        store.segments.submit(Submission(decode_batch(batch, "h").frames))
    assert store.segments.flush()
    store.close()
    begin = datetime(1970, 1, 1) + timedelta(microseconds=NOW_US - 1)
    with open_views(tmp_path) as views:
        judged, found = backtest(views, rules, begin, begin + timedelta(seconds=1))
    assert judged == number
    assert {each.rule.id: each.count for each in found} == expected
    assert sum(count > 0 for count in expected.values()) > 10
