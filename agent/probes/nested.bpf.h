/* What runs inside another statement: in functions, procedures, triggers, DO and SQL EXECUTE. Only
 * where it is asked for are these probes attached. Nested statements are told, and never held.
 *
 * Whose part a statement is, PostgreSQL's chain of error contexts says. Whoever runs statements for
 * a function (SPI, a function in SQL) has an entry in it, on its own stack, for as long as they run:
 * a statement is still running while the entry that was the innermost at its start is one of the
 * outer entries now. */
#ifndef PGWARDEN_NESTED_BPF_H
#define PGWARDEN_NESTED_BPF_H

#include "statements.bpf.h"

#define EXPLAIN_ONLY 1 /* EXEC_FLAG_EXPLAIN_ONLY: it will not run */
#define UTILITY_TOPLEVEL 0
#define UTILITY_SUBCOMMAND 3 /* a part of CREATE SCHEMA, ALTER TABLE, ... */
#define QUERY_PLANNED 8	     /* QueryDesc.plannedstmt */
#define QUERY_TEXT 16	     /* QueryDesc.sourceText */
#define CHAIN_STEPS 48
#define COMPARED_CHUNKS 16
#define CHUNK_BYTES 32 /* with a NUL */

/* Whether two strings are equal, as far as their first 496 bytes say. */
SEPARATE int same_string(__u64 one, __u64 other)
{
	if (!one || !other)
		return 0;
	for (int i = 0; i < COMPARED_CHUNKS; i++) {
		__u64 a[CHUNK_BYTES / 8] = {}, b[CHUNK_BYTES / 8] = {};
		long got = bpf_probe_read_user_str(a, CHUNK_BYTES, (void *)one);
		bpf_probe_read_user_str(b, CHUNK_BYTES, (void *)other);
		if (((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3])) != 0)
			return 0;
		if (got < CHUNK_BYTES)
			return 1;
		one += CHUNK_BYTES - 1;
		other += CHUNK_BYTES - 1;
	}
	return 1;
}

INLINE int runs_in_portal(struct config *config, __u64 base, __u64 text)
{
	__u64 portal = read_u64(base + config->active_portal);
	return portal && read_u64(portal + config->portal_source_text) == text;
}

/* The client's own statement, if it runs in a portal with just this text. Portals that SPI and SQL
 * EXECUTE open have other texts; DECLARE copies its own. The portal of Bind is started by another
 * message than the statement that ran last. */
INLINE int is_outermost(struct config *config, __u64 base, struct session_state *session,
			struct occasion *what)
{
	__u64 asked = read_u64(base + config->debug_query_string);
	return what->text == asked || what->requested_us != session->requested_us ||
	       same_string(what->text, asked);
}

/* Forgets statements that are over. `chain`: the outer error contexts, the next one first. Entries
 * lie the higher in the stack the further out they are, so both lists are in order. */
SEPARATE int end_levels(struct session_state *session, __u64 chain)
{
	if (!session)
		return 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < CHAIN_STEPS; i++) {
		__u32 level = session->level;
		if (!level)
			break;
		struct level *last = &session->levels[(level - 1) & (LEVELS - 1)];
		__u64 frame = last->fetched ? 0 : last->frame;
		if (chain && chain < frame)
			chain = read_u64(chain); /* ErrorContextCallback.previous */
		else if (chain && chain == frame)
			break;
		else
			session->level = level - 1;
	}
	return 1;
}

/* A query that is part of the utility statement that was told just before: CREATE TABLE AS, COPY,
 * EXPLAIN. It has the same text, and starts deeper in the stack. */
INLINE int is_part(struct session_state *session, __u64 text, __u64 frame, __u64 stack,
		   __u32 end)
{
	__u32 level = session->level;
	if (!level)
		return 0;
	struct level *last = &session->levels[(level - 1) & (LEVELS - 1)];
	return last->end && last->text == text && last->frame == frame && stack < last->stack &&
	       end <= last->end;
}

/* `bytes` must be a constant. */
INLINE int send_kept(struct session_state *session, struct occasion *what, __u32 bytes)
{
	struct statement_record *record = reserve(what->urgent, sizeof(*record) + bytes);
	if (!record)
		return 0;
	record->text_bytes = record->full_bytes = session->kept_bytes;
	record->text_state = bytes ? TEXT_WHOLE : TEXT_KNOWN;
	if (bytes)
		bpf_probe_read_kernel(record + 1, bytes, session->kept);
	finish_statement(session, what, record);
	return 1;
}

INLINE void tell_nested(struct config *config, struct session_state *session,
			struct occasion *what)
{
	int sent;
	session->row_limit = 0;
	session->text = 0; /* `kept` is no longer the text of the outer one */
	if (!keep_text(config, session, what->text)) {
		send_text(session, what);
		return;
	}
	struct known_text *known = find_text(session);
	if (known)
		session->text_id = known->id;
	if (known)
		sent = send_kept(session, what, 0);
	else if (session->kept_bytes <= EXECUTION_SMALL)
		sent = send_kept(session, what, EXECUTION_SMALL);
	else if (session->kept_bytes <= EXECUTION_MEDIUM)
		sent = send_kept(session, what, EXECUTION_MEDIUM);
	else
		sent = send_kept(session, what, TEXT_KEPT);
	if (!sent)
		count_loss(what->urgent ? LOSS_URGENT_STATEMENT : LOSS_STATEMENT);
}

INLINE void start_nested(struct config *config, __u64 base, struct session_state *session,
			 __u64 stack, __u64 planned, __u64 text, int utility)
{
	struct occasion *what = new_occasion(config, base, session);
	what->text = text;
	int in_portal = runs_in_portal(config, base, text);
	if (in_portal && is_outermost(config, base, session, what))
		return;
	__s32 place[2] = {}; /* of the statement in the text: its start and length */
	bpf_probe_read_user(place, sizeof(place), (void *)(planned + config->planned_utility + 8));
	__u32 start = place[0] > 0 && read_u8(text) ? place[0] : 0;
	__u32 bytes = place[1] > 0 && read_u8(text) ? place[1] : 0;
	__u64 frame = read_u64(base + config->error_context);
	if (is_part(session, text, frame, stack, start + bytes))
		return;
	tell_pending(session);
	end_levels(session, frame ? read_u64(frame) : 0);
	__u32 level = session->level;
	if (level < LEVELS) {
		struct level *now = &session->levels[level & (LEVELS - 1)];
		now->frame = frame;
		now->text = text;
		now->stack = stack;
		now->fetched = utility && in_portal;
		now->end = utility ? bytes ? start + bytes : ~0U : 0;
		session->level = level + 1;
	}
	what->kind = RECORD_NESTED;
	what->depth = level + 1;
	what->text = text + start;
	what->limit = bytes;
	what->urgent = utility && !begins_everyday(what->text);
	if (what->urgent) {
		session->urgent = 1;
		if (!session->announced)
			announce(config, base, session, 1);
	}
	tell_nested(config, session, what);
}

#endif
