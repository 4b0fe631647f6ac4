/* What runs inside another statement: in functions, procedures, triggers, DO and SQL EXECUTE. The
 * probe of commands is attached where those that last (DDL, GRANT, ALTER SYSTEM) are to be told, both
 * where all is, and where statements are held.
 *
 * Whose part a statement is, PostgreSQL's chain of error contexts says. Whoever runs statements for
 * a function (SPI, a function in SQL) has an entry in it, on its own stack, for as long as they run:
 * a statement is still running while the entry that was the innermost at its start is one of the
 * outer entries now. */
#ifndef PGWARDEN_NESTED_BPF_H
#define PGWARDEN_NESTED_BPF_H

#include "statements.bpf.h"

#define JIT_INLINE 4 /* PGJIT_INLINE */
#define EXPLAIN_ONLY 1 /* EXEC_FLAG_EXPLAIN_ONLY: it will not run */
#define UTILITY_TOPLEVEL 0
#define UTILITY_SUBCOMMAND 3 /* a part of CREATE SCHEMA, ALTER TABLE, ... */
#define QUERY_PLANNED 8	     /* QueryDesc.plannedstmt */
#define QUERY_TEXT 16	     /* QueryDesc.sourceText */
#define CHAIN_STEPS 48
#define NESTED_URGENT 32 /* commands inside one round trip that have reserved room */
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

/* ActivePortal, if it runs just this string, not one with the same letters. */
INLINE __u64 find_portal(struct config *config, __u64 base, __u64 text)
{
	__u64 portal = read_u64(base + config->active_portal);
	return portal && read_u64(portal + config->portal_source_text) == text ? portal : 0;
}

/* The client's own statement, if it runs in a portal with just this text. Portals that SPI and SQL
 * EXECUTE open have other texts; DECLARE copies its own. The portal of Bind is started by another
 * message than the statement that ran last. Good for the record, not for what must be judged. */
INLINE int is_outermost(struct config *config, __u64 base, struct session_state *session,
			struct occasion *what)
{
	__u64 asked = read_u64(base + config->debug_query_string);
	return what->text == asked || what->requested_us != session->requested_us ||
	       same_string(what->text, asked);
}

/* Beyond doubt a part of what PortalRun judges: it has the very string of a portal that the client
 * opened, which lives as long as that runs. Only clients open portals without a name. One with a
 * name is the client's where Bind starts it: nobody else has pushed an error context. */
INLINE int is_clients(struct config *config, __u64 base, struct session_state *session,
		      struct occasion *what, __u64 portal, __u64 frame)
{
	if (!is_named(portal))
		return 1;
	return what->requested_us != session->requested_us && (!frame || !read_u64(frame)) &&
	       same_string(what->text, read_u64(base + config->debug_query_string));
}

/* Whether PortalRun was given this very plan: the query of COPY, CREATE TABLE AS or EXPLAIN has the
 * text of the client's portal, and a plan of its own. */
SEPARATE int is_of_portal(struct config *config, __u64 portal, __u64 planned)
{
	if (!config)
		return 0;
	__u64 list = read_u64(portal + config->portal_statements);
	__u64 cell = read_u64(list + config->list_cells);
	__u32 left = read_u64(list + 4); /* List.length */
	int found = 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < PLANS_SEEN; i++) {
		if (!left)
			break;
		found |= read_u64(cell) == planned;
		cell = next_cell(config, cell);
		left -= 1;
	}
	return found;
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

/* The utility statement that was told just before, if this query is part of it: CREATE TABLE AS,
 * COPY, EXPLAIN. It has the same text, and starts deeper in the stack. */
INLINE struct level *find_whole(struct session_state *session, __u64 text, __u64 frame, __u64 stack,
				__u32 start, __u32 bytes)
{
	__u32 level = session->level;
	if (!level)
		return 0;
	struct level *last = &session->levels[(level - 1) & (LEVELS - 1)];
	if (!last->end || last->text != text || last->frame != frame || stack >= last->stack ||
	    start + bytes > last->end || (bytes && start < last->start))
		return 0;
	return last;
}

/* The same of DECLARE, whose query has a copy of its text in a portal of its own. */
INLINE int is_declared(struct session_state *session, struct occasion *what, __u64 frame, __u64 stack)
{
	__u32 level = session->level;
	if (!what->portal || !level)
		return 0;
	struct level *last = &session->levels[(level - 1) & (LEVELS - 1)];
	return last->end && last->frame == frame && stack < last->stack &&
	       same_string(what->text, last->text);
}

/* What was held before that this belongs to: one grant lets both pass, and a second execution of the
 * same text is neither. Only clients open portals without a name. Of those with one only that of
 * their DECLARE is theirs: its text is what they have asked for, and no function asks, which would
 * have pushed an error context below PortalRun. */
INLINE int part_of(struct config *config, __u64 base, struct session_state *session,
		   struct occasion *what, __u64 frame, __u64 stack)
{
	if (what->portal && !is_named(what->portal))
		return PART_CLIENTS;
	int direct = !frame || (what->requested_us == session->requested_us &&
				frame > session->outer_stack);
	if (what->portal && direct &&
	    same_string(what->text, read_u64(base + config->debug_query_string)))
		return PART_CLIENTS;
	return is_declared(session, what, frame, stack) ? PART_COMMANDS : PART_NONE;
}

/* A function whose body is SQL itself has an empty text. Its key is that of no other one: none is as
 * long as the last word says. 0: it is another one, or not to be read. */
SEPARATE int is_silent(struct config *config, struct session_state *session, __u64 text)
{
	char first[2];
	struct sip s;
	if (!config || !session || !text)
		return 0;
	if (bpf_probe_read_user_str(first, sizeof(first), (void *)text) != 1)
		return 0;
	sip_begin(&s, config);
	sip_word(&s, RECORD_NESTED);
	sip_word(&s, ~(__u64)0);
	sip_end(&s, &session->text_key);
	return 1;
}

/* `bytes` must be a constant. */
INLINE int send_kept(struct session_state *session, struct occasion *what, __u32 bytes)
{
	struct statement_record *record = reserve(session, what->urgent, sizeof(*record) + bytes);
	if (!record)
		return 0;
	record->text_bytes = record->full_bytes = session->kept_bytes;
	record->text_state = bytes ? TEXT_WHOLE : TEXT_KNOWN;
	if (bytes)
		bpf_probe_read_kernel(record + 1, bytes, session->kept);
	finish_statement(session, what, record);
	return 1;
}

INLINE void tell_nested(struct session_state *session, struct occasion *what)
{
	int sent;
	if (!what->kept) {
		send_text(session, what);
		return;
	}
	struct known_text *known = find_text(session);
	if (known)
		session->text_id = known->id;
	else if (what->lasting && !what->urgent) /* its text must not be known as one without room */
		session->text_key.high = session->text_key.low = 0;
	if (known)
		sent = send_kept(session, what, 0);
	else if (session->kept_bytes <= EXECUTION_SMALL)
		sent = send_kept(session, what, EXECUTION_SMALL);
	else if (session->kept_bytes <= EXECUTION_MEDIUM)
		sent = send_kept(session, what, EXECUTION_MEDIUM);
	else
		sent = send_kept(session, what, TEXT_KEPT);
	if (!sent)
		count_lost(session, what->urgent, LOSS_STATEMENT);
}

INLINE void push_level(struct session_state *session, __u64 text, __u64 frame, __u64 stack)
{
	__u32 level = session->level;
	struct occasion *what = &session->occasion;
	if (level >= LEVELS)
		return;
	HIDE(level); /* the mask is for the verifier: it must stay */
	struct level *now = &session->levels[level & (LEVELS - 1)];
	now->frame = frame;
	now->text = text;
	now->stack = stack;
	now->fetched = what->utility && what->portal;
	now->start = what->start;
	now->end = what->utility ? what->limit ? what->start + what->limit : ~0U : 0;
	session->level = level + 1;
}

/* `what->start` and `what->limit`: where the statement stands in the text. */
INLINE void place_statement(struct config *config, struct occasion *what, __u64 planned, __u64 text)
{
	__s32 place[2] = {};
	bpf_probe_read_user(place, sizeof(place), (void *)(planned + config->planned_utility + 8));
	__u32 there = read_u8(text) != 0;
	what->start = place[0] > 0 && there ? place[0] : 0;
	what->limit = place[1] > 0 && there ? place[1] : 0;
}

/* Whether functions of this plan may run past all probes. PlannedStmt.parallelModeNeeded and its
 * jitFlags stand right before planTree in every version, and invalItems, which names the functions and
 * domains that did not come with the server, behind relationOids. */
INLINE int may_evade(struct config *config, __u64 planned)
{
	__u64 tree = planned + config->planned_tree;
	__u32 flags = 0;
	if (config->calls)
		bpf_probe_read_user(&flags, sizeof(flags), (void *)(tree - 8));
	if (flags & JIT_INLINE)
		return 1;
	return read_u8(tree - 11) && read_u64(planned + config->planned_relations + 8);
}

/* Whether it is told although nobody refused it. UNLISTEN changes nothing: the canary runs it
 * (agent/sources/canary.py), to prove that commands are told. */
INLINE int is_wanted(struct config *config, struct occasion *what, __u64 planned, __u64 text)
{
	if (config->nested != NESTED_COMMANDS)
		return config->nested == NESTED_ALL;
	text += what->start;
	return what->utility && (is_lasting(config, planned, text) ||
				 (__u32)first_letters(text) == WORD('u', 'n', 'l', 'i'));
}

INLINE void start_nested(struct config *config, __u64 base, struct session_state *session,
			 __u64 stack, __u64 planned, __u64 text, int utility)
{
	struct occasion *what = new_occasion(config, base, session);
	__u64 frame = read_u64(base + config->error_context);
	what->text = text;
	what->utility = utility;
	what->portal = find_portal(config, base, text);
	int clients = what->portal && is_clients(config, base, session, what, what->portal, frame) &&
		      (utility || is_of_portal(config, what->portal, planned));
	what->judged = is_judged(session);
	/* A portal with a name may be fetched from by that name, and never comes to PortalRun. */
	int comes = clients && !(what->judged && is_named(what->portal));
	if (!utility && may_evade(config, planned))
		what->evades = comes ? EVASION_ALONE : EVASION_JUDGED;
	if (comes && !what->evades)
		return;
	if (!what->judged && (clients || !config->nested))
		return;
	int own = clients || (what->portal && is_outermost(config, base, session, what));
	place_statement(config, what, planned, text);
	struct level *whole = find_whole(session, text, frame, stack, what->start, what->limit);
	if (!what->judged && (own || whole))
		return;
	int wanted = is_wanted(config, what, planned, text);
	if (!what->judged && !wanted)
		return;
	/* Told only if it is refused. */
	what->quiet = own || whole || !wanted;
	if (what->judged) {
		what->part = part_of(config, base, session, what, frame, stack);
		if (whole && !what->part)
			what->part = PART_COMMANDS;
		what->planned = planned;
		see_plan(config, session);
		mix_claim(config, session, base, own ? text : 0);
	}
	tell_pending(session);
	if (!own && !whole)
		end_levels(session, frame ? read_u64(frame) : 0);
	what->depth = session->level + 1;
	if (whole) {
		/* Where a later string has taken the place of its text, that is what is judged. */
		what->start = whole->start;
		what->limit = whole->end == ~0U ? 0 : whole->end - whole->start;
	} else if (own) {
		/* As at PortalRun: what is asked about twice must be asked in the same words. */
		what->start = what->limit = 0;
	} else {
		push_level(session, text, frame, stack);
	}
	what->kind = RECORD_NESTED;
	what->text = text + what->start;
	session->row_limit = 0;
	session->text = 0; /* `kept` is no longer the text of the outer one */
	what->kept = keep_text(config, session, what->text);
	int keyed = what->kept || is_silent(config, session, what->text);
	what->hold = what->judged &&
		     (what->evades || what->unseen || !keyed || !is_allowed(config, session));
	require_judge(what);
	if (what->quiet && !what->hold)
		return;
	/* A loop in one function must not take the room of holds: only its first commands have room. */
	what->lasting = utility && is_lasting(config, planned, what->text);
	what->urgent = what->hold || (what->lasting && session->urgent < NESTED_URGENT);
	if (what->urgent) {
		session->urgent = session->urgent < NESTED_URGENT ? session->urgent + 1 : NESTED_URGENT;
		if (!session->announced)
			announce(config, base, session, 1);
	}
	tell_nested(session, what);
}

/* A portal without a name comes to PortalRun when the client executes it, but a function may fetch
 * from it before. PL/pgSQL does so by an empty name, SQL cannot. All that the portal may do is judged
 * here: what it starts has its text, and is taken for a part of what was judged. */
INLINE void start_fetch(struct config *config, __u64 base, struct session_state *session,
			__u64 portal)
{
	struct occasion *what = new_occasion(config, base, session);
	what->judged = 1;
	what->part = PART_CLIENTS;
	what->portal = portal;
	what->planned = read_u64(portal + config->portal_statements);
	what->planned_list = 1;
	see_plan(config, session);
	mix_claim(config, session, base, 0);
	tell_pending(session);
	what->kind = RECORD_NESTED;
	what->quiet = 1;
	what->depth = session->level + 1;
	what->text = read_u64(portal + config->portal_source_text);
	session->row_limit = 0;
	session->text = 0; /* `kept` is no longer the text of the outer one */
	what->kept = keep_text(config, session, what->text);
	what->hold = what->unseen || !what->kept || !is_allowed(config, session);
	require_judge(what);
	if (!what->hold)
		return;
	what->urgent = 1;
	if (!session->announced)
		announce(config, base, session, 1);
	tell_nested(session, what);
}

#endif
