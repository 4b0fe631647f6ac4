/* The start of a statement: kept until its answer comes, or told at once; and the hold. */
#ifndef PGWARDEN_STATEMENTS_BPF_H
#define PGWARDEN_STATEMENTS_BPF_H

#include "claims.bpf.h"
#include "parameters.bpf.h"
#include "plans.bpf.h"
#include "responses.bpf.h"
#include "texts.bpf.h"
#include "urgency.bpf.h"

#define STOP_SIGNAL 19	  /* SIGSTOP on x86-64 */
#define LENGTH_CHUNKS 64 /* of TEXT_LARGE: 8 MB at a time */
#define PARTS_AT_ONCE 4 /* of LENGTH_PARTS */
#define LONG_PARTS 4 /* a few long texts may not take the room of many short ones */

/* Of a text that is too long to be told: it is only counted. */
struct passage {
	char bytes[TEXT_LARGE];
};
DECLARE_ARRAY(passages, struct passage);

INLINE struct occasion *new_occasion(struct config *config, __u64 base,
				     struct session_state *session)
{
	struct occasion *what = &session->occasion;
	what->portal = what->text = 0;
	what->skeleton.high = what->skeleton.low = 0;
	what->kind = what->row_limit = 0;
	what->protocol = what->depth = what->text_state = what->urgent = 0;
	what->hold = what->kept = what->told = 0;
	what->planned = what->touched = 0;
	what->planned_list = what->unseen = what->judged = 0;
	what->utility = what->quiet = what->evades = what->part = what->lasting = 0;
	what->continued = 0;
	what->limit = 0;
	what->requested_us = read_requested(config, base);
	return what;
}

/* Whether this session's statements are to be judged before they run. */
INLINE int is_judged(struct session_state *session)
{
	struct judge *judge = find_judge();
	return judge && judge->hold && !session->exempt;
}

/* Whether the judge is there, who lets go what is held. */
INLINE int judge_lives(void)
{
	struct judge *judge = find_judge();
	if (!judge || !judge->hold)
		return 0;
	/* No subtraction: a beat may come between the two readings, and be the later one. */
	return bpf_ktime_get_ns() <= judge->beat_ns + judge->window_ns;
}

INLINE __u32 hold(void)
{
	if (!judge_lives()) {
		count_loss(LOSS_UNHELD);
		return 0;
	}
	if (bpf_send_signal(STOP_SIGNAL)) {
		count_loss(LOSS_SIGNAL);
		return 0;
	}
	return 1;
}

/* What had to be held and is not, for nobody would let it go, is counted and told like the rest. */
INLINE void require_judge(struct occasion *what)
{
	if (!what->hold || judge_lives())
		return;
	count_loss(LOSS_UNHELD);
	what->hold = 0;
}

/* Goes on counting what->full_bytes of a long text; 0 at its end. It is one part of the way: the
 * verifier walks through a loop as often as it runs. What is read is looked at by nobody, so that
 * all processors may write it to one place. */
SEPARATE int measure_part(struct session_state *session)
{
	if (!session)
		return 0;
	struct occasion *what = &session->occasion;
	__u32 zero = 0;
	struct passage *passage = LOOKUP(passages, &zero);
	if (!passage)
		return 0;
	__u32 length = what->full_bytes;
	int more = 1;
#pragma clang loop unroll(disable)
	for (int i = 0; i < LENGTH_CHUNKS; i++) {
		long got = bpf_probe_read_user_str(passage->bytes, TEXT_LARGE, (void *)(what->text + length));
		if (got > 0)
			length += got - 1;
		if (got < TEXT_LARGE) {
			more = 0;
			break;
		}
	}
	what->full_bytes = length;
	return more;
}

SEPARATE int measure_parts(struct session_state *session)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < PARTS_AT_ONCE; i++)
		if (!measure_part(session))
			return 0;
	return 1;
}

/* How long a text is of which `got` bytes were copied, with the zero at their end; 0 where that is
 * all. PostgreSQL takes none of 1 GiB. */
INLINE __u32 measure(struct session_state *session, __u32 got)
{
	session->occasion.full_bytes = got - 1;
#pragma clang loop unroll(disable)
	for (int i = 0; i < LENGTH_PARTS; i += PARTS_AT_ONCE)
		if (!measure_parts(session))
			break;
	return session->occasion.full_bytes >= got ? session->occasion.full_bytes : 0;
}

/* The record exists before the signal, so a held backend is always known to user space. */
INLINE void finish_statement(struct session_state *session, struct occasion *what,
			     struct statement_record *record)
{
	fill_head(&record->head, what->kind, session->session_us);
	record->requested_us = what->requested_us;
	record->text_key = session->text_key;
	record->skeleton = what->skeleton;
	record->text_id = session->text_id;
	record->row_limit = what->row_limit;
	record->naming = session->naming;
	record->protocol = what->protocol;
	record->depth = what->depth;
	record->planned = what->hold ? what->planned : 0;
	record->touched = what->touched;
	record->planned_list = what->planned_list;
	record->quiet = what->quiet;
	record->evades = what->evades;
	record->part = what->part;
	record->start = what->kind == RECORD_STATEMENT && !what->depth ? session->starts : 0;
	record->round = session->round;
	record->continued = what->continued;
	if (what->urgent)
		record->text_state |= TEXT_URGENT;
	record->held = what->hold ? hold() : 0;
	if (record->held)
		session->held_at_ns = record->head.at_ns;
	SUBMIT(records, record, record->held ? BPF_RB_FORCE_WAKEUP : wakeup());
}

INLINE void finish_text(struct session_state *session, struct occasion *what,
			struct statement_record *record, long got, __u32 full)
{
	__u32 copied = got > 0 ? got - 1 : 0;
	if (what->limit && copied > what->limit)
		copied = what->limit;
	if (what->limit && full > what->limit)
		full = what->limit;
	record->text_bytes = copied;
	record->full_bytes = full ? full : copied;
	record->text_state = got <= 0 ? TEXT_UNREADABLE : full ? TEXT_CUT : TEXT_WHOLE;
	if (what->text_state == TEXT_SAME)
		record->text_state = TEXT_SAME;
	finish_statement(session, what, record);
}

/* The text again, in a record of the next size class; NULL when the statement has been sent. Where
 * the ring has no room for it, *got is as before: less than `bytes`, which must be a constant. */
INLINE struct statement_record *grow(struct session_state *session, struct occasion *what,
				     struct statement_record *record, __u32 bytes, long *got)
{
	/* The reserved room is for many, not for a few that are long, unless somebody must judge them. */
	__u32 urgent = bytes <= TEXT_MEDIUM && what->urgent && reserved_room(LONG_PARTS);
	struct statement_record *larger = reserve(session, urgent, sizeof(*larger) + bytes);
	if (!larger && what->hold && bytes == TEXT_LARGE && reserved_room(LONG_PARTS))
		larger = reserve(session, 1, sizeof(*larger) + bytes);
	if (!larger) {
		count_loss(LOSS_TEXT_CUT);
		return record;
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
	struct statement_record *record = reserve(session, what->urgent, sizeof(*record) + TEXT_SMALL);
	if (!record) {
		if (what->kind == RECORD_FAILED)
			count_loss(LOSS_FAILED);
		else
			count_lost(session, what->urgent, LOSS_STATEMENT);
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
	if (record && got == TEXT_MEDIUM)
		record = grow(session, what, record, TEXT_LARGE, &got);
	if (record && got == TEXT_LARGE)
		record = grow(session, what, record, TEXT_HUGE, &got);
	if (record)
		finish_text(session, what, record, got, measure(session, got));
	return 1;
}

/* `bytes` of the text that was kept; must be a constant. */
INLINE int send_pending(struct session_state *session, __u32 bytes)
{
	__u32 urgent = session->urgent;
	struct statement_record *record = reserve(session, urgent, sizeof(*record) + bytes);
	if (!record)
		return 0;
	fill_head(&record->head, RECORD_STATEMENT, session->session_us);
	record->head.at_ns = session->started_ns;
	record->requested_us = session->requested_us;
	record->text_key = session->text_key;
	record->skeleton.high = record->skeleton.low = 0;
	record->text_bytes = record->full_bytes = session->kept_bytes;
	record->text_id = session->text_id;
	record->row_limit = session->row_limit;
	record->naming = session->naming;
	record->protocol = session->protocol;
	record->depth = 0;
	record->held = 0;
	record->planned = record->touched = 0;
	record->planned_list = record->quiet = record->evades = record->part = 0;
	record->start = session->starts;
	record->round = session->round;
	record->continued = session->continued;
	record->text_state = (bytes ? TEXT_WHOLE : TEXT_KNOWN) | (urgent ? TEXT_URGENT : 0);
	if (bytes)
		bpf_probe_read_kernel(record + 1, bytes, session->kept);
	SUBMIT(records, record, wakeup());
	return 1;
}

/* Tell the start of the statement that waits for its answer: its round trip is no simple one. */
SEPARATE int tell_pending(struct session_state *session)
{
	if (!session || !session->pending)
		return 1;
	int sent;
	session->pending = 0;
	if (session->text_id)
		sent = send_pending(session, 0);
	else if (session->kept_bytes <= EXECUTION_SMALL)
		sent = send_pending(session, EXECUTION_SMALL);
	else if (session->kept_bytes <= EXECUTION_MEDIUM)
		sent = send_pending(session, EXECUTION_MEDIUM);
	else
		sent = send_pending(session, TEXT_KEPT);
	if (!sent)
		count_lost(session, session->urgent, LOSS_STATEMENT);
	return sent;
}

/* Looks the text up and decides how its statement is told: `urgent` and `hold`. */
INLINE void consider(struct config *config, struct session_state *session, struct occasion *what)
{
	struct known_text *known = what->kept ? find_text(session) : 0;
	if (known) {
		session->text_id = known->id;
		what->urgent = known->urgent != 0;
	} else {
		what->urgent = what->portal ? is_urgent(config, what->portal, what->text) : 0;
	}
	if (!what->judged)
		return;
	what->hold = what->unseen || !what->kept || !is_allowed(config, session);
	require_judge(what);
	what->urgent |= what->hold;
}

INLINE void begin_command(struct session_state *session, __u64 stack, struct occasion *what)
{
	what->told = tell_pending(session);
	what->kind = RECORD_STATEMENT;
	session->text_key.high = session->text_key.low = 0;
	session->text_id = 0;
	session->text = 0;
	session->outer_stack = stack;
	session->requested_us = what->requested_us;
	session->row_limit = 0;
	session->continued = 0;
	session->starts += 1;
}

/* The number of the function that a FunctionCall message is for: its first four bytes, big-endian.
 * 0: not to be read. */
INLINE __u32 called_function(__u64 message)
{
	__u8 number[4] = {};
	__u32 cursor = 0; /* StringInfo: data, len, maxlen, cursor */
	bpf_probe_read_user(&cursor, sizeof(cursor), (void *)(message + 16));
	bpf_probe_read_user(number, sizeof(number), (void *)(read_u64(message) + cursor));
	return (__u32)number[0] << 24 | (__u32)number[1] << 16 | (__u32)number[2] << 8 | number[3];
}

/* Takes the place of the key of a text. No text has it: none is as long as the last word says. */
INLINE void key_of_call(struct config *config, struct session_state *session, __u32 function)
{
	struct sip s;
	session->kept_bytes = 0;
	sip_begin(&s, config);
	sip_word(&s, PROTOCOL_FASTPATH);
	sip_word(&s, function);
	sip_word(&s, ~(__u64)0);
	sip_end(&s, &session->text_key);
}

/* A fastpath call, which has no text: rare, told at once. */
INLINE void start_call(struct config *config, struct session_state *session, __u64 stack,
		       struct occasion *what)
{
	begin_command(session, stack, what);
	session->calling = CALL_ASKED;
	session->result_left = 0;
	key_of_call(config, session, what->row_limit);
	what->hold = what->judged && (!what->row_limit || !is_allowed(config, session));
	require_judge(what);
	what->urgent = what->hold;
	session->urgent |= what->urgent;
	send_text(session, what);
}

/* What a walsender is asked for: a replication command, or SQL, which comes to PortalRun as well. A
 * text that is too long to be kept is told here, for it is gone when its answer comes; user space
 * takes it and the SQL that it was for one statement. */
INLINE void start_replication(struct config *config, struct session_state *session, __u64 stack,
			      struct occasion *what)
{
	begin_command(session, stack, what);
	if (keep_text(config, session, what->text)) {
		session->pending = 1;
		session->protocol = PROTOCOL_REPLICATION;
		session->started_ns = bpf_ktime_get_ns();
	} else {
		session->asked = ASKED_LONG;
		session->text = send_text(session, what) ? what->text : 0;
	}
}

/* It was SQL: the statement begins only now. */
INLINE void drop_question(struct session_state *session, struct occasion *what)
{
	int waits = session->pending && session->protocol == PROTOCOL_REPLICATION;
	if ((waits || session->asked == ASKED_LONG) && session->requested_us == what->requested_us) {
		session->pending = 0;
		session->asked = ASKED_SQL;
		session->starts = 0;
		session->outer_stack = 0;
	}
}

/* A nested PortalRun (SQL EXECUTE) belongs to the client's message that the outer one belongs to, and
 * lies deeper in the stack. The stack alone says nothing: a simple query lies deeper than an Execute
 * before it in the same round trip. */
INLINE int is_deeper(struct session_state *session, struct occasion *what, __u64 stack)
{
	return session->outer_stack && stack < session->outer_stack &&
	       what->requested_us == session->requested_us;
}

/* Only what the client asked for itself is a statement of depth 0.
 * The statements of one string share text and arrival time: the text is sent once, or a script of
 * many statements would be copied once for each. */
INLINE void start_statement(struct config *config, __u64 base, struct session_state *session,
			    __u64 stack, struct occasion *what)
{
	drop_question(session, what);
	what->told = tell_pending(session);
	what->kind = RECORD_STATEMENT;
	what->depth = is_deeper(session, what, stack);
	if (!what->told)
		session->text = 0;
	if (!what->depth && what->text && what->requested_us && what->text == session->text &&
	    what->requested_us == session->requested_us)
		what->text_state = TEXT_SAME;
	/* Read again also then: what may pass without a hold is decided by the text itself. */
	what->kept = keep_text(config, session, what->text);
	if (what->depth && what->judged)
		mix_claim(config, session, base, 0);
	consider(config, session, what);
	if (what->depth && config->nested == NESTED_ALL && !what->hold) {
		session->text = 0;
		return; /* the start of its query tells it */
	}
	if (what->urgent) {
		session->urgent = 1;
		if (!session->announced)
			announce(config, base, session, 1);
	}
	if (config->parameters)
		send_parameters(config, session);
	if (what->depth) {
		session->text = 0; /* `kept` and its key are no longer those of the outer one */
		send_text(session, what);
		return;
	}
	session->outer_stack = stack;
	session->level = 0;
	session->requested_us = what->requested_us;
	session->row_limit = what->row_limit;
	session->continued = what->continued;
	session->starts += 1;
	if (what->kept && !what->hold && session->starts == 1 && !session->walsender) {
		session->pending = 1;
		session->protocol = PROTOCOL_QUERY;
		session->started_ns = bpf_ktime_get_ns();
		session->text = what->text;
		return;
	}
	session->text = send_text(session, what) ? what->text : 0;
}

/* A statement that failed before PortalRun (syntax, names, permissions of parse analysis): its text
 * is still in debug_query_string when the error is flushed. */
INLINE void report_failed(struct config *config, __u64 base, struct session_state *session,
			  struct writing *write)
{
	struct occasion *what = new_occasion(config, base, session);
	what->text = read_u64(base + config->debug_query_string);
	if (!what->text) {
		/* Close and Sync are given no time of arrival, all other messages are. */
		int later = session->starts && what->requested_us &&
			    what->requested_us != session->requested_us;
		write->failed = later ? FAILED_LATER : FAILED_NO_TEXT;
		return;
	}
	if (what->requested_us ? what->requested_us == session->requested_us : session->starts > 0) {
		write->failed = FAILED_TEXT_SAME;
		return;
	}
	what->kind = RECORD_FAILED;
	what->urgent = session->urgent;
	write->requested_us = what->requested_us;
	write->failed = send_text(session, what) ? FAILED_TEXT_TOLD : FAILED_TEXT_LOST;
}

#endif
