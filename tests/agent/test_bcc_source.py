"""What bcc is given to compile."""

import re

from agent.probes.bcc_loader import one_text
from agent.probes.build import SOURCE

CALL = re.compile(r"\b(bpf_probe_read_user\w*)\(")
RENAMED = re.compile(r"^#define (bpf_\w+) (?!bpf_)\w+$", re.MULTILINE)


def test_no_helper_is_called_by_a_name_for_which_bcc_sorts_the_symbols_of_the_kernel():
    own_names, _, _ = SOURCE.with_name("compat.bpf.h").read_text().partition("#else")
    called = set(CALL.findall(one_text(SOURCE)))
    assert called, "the probes read what the server has in its memory"
    assert called <= set(RENAMED.findall(own_names))
