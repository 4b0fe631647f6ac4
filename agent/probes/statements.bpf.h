/* The text of a statement on its way to the ring buffer, and the hold. */
#ifndef PGWARDEN_STATEMENTS_BPF_H
#define PGWARDEN_STATEMENTS_BPF_H

#include "sessions.bpf.h"

#define STOP_SIGNAL 19	  /* SIGSTOP on x86-64 */
#define LENGTH_CHUNKS 256 /* of TEXT_LARGE: lengths are counted up to 33 MB */

INLINE __u32 hold(void)
{
	__u32 zero = 0;
	struct judge *judge = LOOKUP(judges, &zero);
	if (!judge || !judge->hold)
		return 0;
	/* No subtraction: a beat may come between the two readings, and be the later one. */
	if (bpf_ktime_get_ns() > judge->beat_ns + judge->window_ns)
		return 0; /* nobody would let it go again */
	if (bpf_send_signal(STOP_SIGNAL)) {
		count_loss(LOSS_SIGNAL);
		return 0;
	}
	return 1;
}

/* How long a text of more than TEXT_HUGE is, counted through a record that is thrown away. */
INLINE __u32 measure(__u64 text)
{
	__u32 length = TEXT_HUGE - 1;
	char *scratch = RESERVE(records, TEXT_LARGE);
	if (!scratch)
		return length + 1;
	for (int i = 0; i < LENGTH_CHUNKS; i++) {
		long got = bpf_probe_read_user_str(scratch, TEXT_LARGE, (void *)(text + length));
		if (got <= 0)
			break;
		length += got - 1;
		if (got < TEXT_LARGE)
			break;
	}
	DISCARD(records, scratch, BPF_RB_NO_WAKEUP);
	return length;
}

struct occasion {
	__u32 kind;
	__u32 loss;
	__s64 requested_us;
	__u64 text;
	__u8 protocol;
	__u8 depth;
	__u8 text_state;
	__u8 may_hold;
};

/* The record exists before the signal, so a held backend is always known to user space. */
INLINE void finish_text(struct session_state *session, struct occasion *what,
			struct statement_record *record, long got, __u32 full)
{
	__u32 copied = got > 0 ? got - 1 : 0;
	fill_head(&record->head, what->kind, session->session_us);
	record->requested_us = what->requested_us;
	record->text_bytes = copied;
	record->full_bytes = full ? full : copied;
	record->protocol = what->protocol;
	record->depth = what->depth;
	record->text_state = got <= 0 ? TEXT_UNREADABLE : full ? TEXT_CUT : TEXT_WHOLE;
	if (what->text_state == TEXT_SAME)
		record->text_state = TEXT_SAME;
	record->padding = 0;
	record->held = what->may_hold ? hold() : 0;
	if (record->held)
		session->held_at_ns = record->head.at_ns;
	SUBMIT(records, record, record->held ? BPF_RB_FORCE_WAKEUP : wakeup());
}

/* The text again, in a record of the next size class; NULL when the statement has been sent. Where
 * the ring has no room for it, the smaller record is sent as cut. `bytes` must be a constant. */
INLINE struct statement_record *grow(struct session_state *session, struct occasion *what,
				     struct statement_record *record, __u32 bytes, long *got)
{
	struct statement_record *larger = RESERVE(records, sizeof(*larger) + bytes);
	if (!larger) {
		count_loss(LOSS_TEXT_CUT);
		finish_text(session, what, record, *got, *got);
		return 0;
	}
	DISCARD(records, record, BPF_RB_NO_WAKEUP);
	*got = bpf_probe_read_user_str(larger + 1, bytes, (void *)what->text);
	if (*got < (long)bytes) {
		finish_text(session, what, larger, *got, 0);
		return 0;
	}
	return larger;
}

INLINE int send_text(struct session_state *session, struct occasion *what)
{
	struct statement_record *record = RESERVE(records, sizeof(*record) + TEXT_SMALL);
	if (!record) /* since 6.15 the ring's lock may be given up under contention */
		record = RESERVE(records, sizeof(*record) + TEXT_SMALL);
	if (!record) {
		count_loss(what->loss);
		return 0;
	}
	if (what->text_state == TEXT_SAME || !what->text) {
		finish_text(session, what, record, what->text_state == TEXT_SAME, 0);
		return 1;
	}
	long got = bpf_probe_read_user_str(record + 1, TEXT_SMALL, (void *)what->text);
	if (got < TEXT_SMALL) {
		finish_text(session, what, record, got, 0);
		return 1;
	}
	record = grow(session, what, record, TEXT_MEDIUM, &got);
	if (record)
		record = grow(session, what, record, TEXT_LARGE, &got);
	if (record)
		record = grow(session, what, record, TEXT_HUGE, &got);
	if (record)
		finish_text(session, what, record, got, measure(what->text));
	return 1;
}

/* A nested PortalRun (SQL EXECUTE) lies deeper in the stack than the one that the client asked for.
 * The statements of one string share text and arrival time: the text is sent once, or a script of
 * many statements would be copied once for each. */
INLINE void start_statement(struct session_state *session, __u64 stack, struct occasion *what)
{
	what->kind = RECORD_STATEMENT;
	what->loss = LOSS_STATEMENT;
	what->may_hold = !session->walsender;
	what->depth = session->outer_stack && stack < session->outer_stack;
	if (what->depth) {
		send_text(session, what);
		return;
	}
	if (what->text && what->requested_us && what->text == session->text &&
	    what->requested_us == session->requested_us)
		what->text_state = TEXT_SAME;
	session->outer_stack = stack;
	session->requested_us = what->requested_us;
	session->starts += 1;
	session->text = send_text(session, what) ? what->text : 0;
}

/* A statement that failed before PortalRun (syntax, names, permissions of parse analysis): its text
 * is still in debug_query_string when the error is flushed. */
INLINE void report_failed(struct config *config, __u64 base, struct session_state *session)
{
	struct occasion what = {};
	what.requested_us = read_requested(config, base, session);
	if (what.requested_us ? what.requested_us == session->requested_us : session->starts > 0)
		return;
	what.text = read_u64(base + config->debug_query_string);
	if (!what.text)
		return;
	what.kind = RECORD_FAILED;
	what.loss = LOSS_FAILED;
	send_text(session, &what);
}

#endif
