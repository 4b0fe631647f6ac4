/* Which statements have reserved room in the record: all but reading, DML and the traffic of
 * transactions. In doubt it is urgent. agent/urgency.py has the same words, and says the same of
 * COPY with a program or a file. */
#ifndef PGWARDEN_URGENCY_BPF_H
#define PGWARDEN_URGENCY_BPF_H

#include "sessions.bpf.h"

#define LEADING_SPACE 8
#define EXPLAIN_QUERY 8 /* ExplainStmt.query */
#define COPY_FILENAME 40 /* CopyStmt.filename, the same since PostgreSQL 12 */
/* The first letters as one number, in lower case, the first letter lowest. */
#define WORD(a, b, c, d) ((a) | (b) << 8 | (c) << 16 | (__u32)(d) << 24)

/* Four letters tell these apart from every command that changes the schema, rights or settings for
 * good. */
INLINE int is_everyday(__u32 word)
{
	switch (word) {
	case WORD('s', 'e', 'l', 'e'):
	case WORD('i', 'n', 's', 'e'):
	case WORD('u', 'p', 'd', 'a'):
	case WORD('d', 'e', 'l', 'e'):
	case WORD('m', 'e', 'r', 'g'):
	case WORD('b', 'e', 'g', 'i'):
	case WORD('s', 't', 'a', 'r'):
	case WORD('e', 'n', 'd', ';'):
	case WORD('e', 'n', 'd', ' '):
	case WORD('r', 'o', 'l', 'l'):
	case WORD('a', 'b', 'o', 'r'):
	case WORD('s', 'a', 'v', 'e'):
	case WORD('s', 'h', 'o', 'w'):
	case WORD('f', 'e', 't', 'c'):
	case WORD('m', 'o', 'v', 'e'):
	case WORD('c', 'l', 'o', 's'):
	case WORD('d', 'e', 'c', 'l'):
	case WORD('v', 'a', 'l', 'u'):
	case WORD('c', 'o', 'p', 'y'):
	case WORD('e', 'x', 'p', 'l'):
	case WORD('l', 'i', 's', 't'):
	case WORD('n', 'o', 't', 'i'):
	case WORD('u', 'n', 'l', 'i'):
	case WORD('s', 'e', 't', ' '):
	case WORD('r', 'e', 's', 'e'):
	case WORD('l', 'o', 'c', 'k'):
		return 1;
	}
	return 0;
}

/* Words that begin like one that matters: COMMIT and COMMENT, EXECUTE, PREPARE, DISCARD, RELEASE. */
INLINE int is_everyday_long(__u64 word)
{
	__u64 six = word & 0xffffffffffff;
	return six == ((__u64)WORD('c', 'o', 'm', 'm') | (__u64)'i' << 32 | (__u64)'t' << 40) ||
	       six == ((__u64)WORD('p', 'r', 'e', 'p') | (__u64)'a' << 32 | (__u64)'r' << 40) ||
	       six == ((__u64)WORD('e', 'x', 'e', 'c') | (__u64)'u' << 32 | (__u64)'t' << 40) ||
	       six == ((__u64)WORD('d', 'i', 's', 'c') | (__u64)'a' << 32 | (__u64)'r' << 40) ||
	       six == ((__u64)WORD('r', 'e', 'l', 'e') | (__u64)'a' << 32 | (__u64)'s' << 40) ||
	       six == ((__u64)WORD('d', 'e', 'a', 'l') | (__u64)'l' << 32 | (__u64)'o' << 40);
}

/* Of a Portal, from `stmts` on: the same since PostgreSQL 12. */
struct portal_part {
	__u64 statements;
	__u64 others[3];
	__u32 strategy;
	__u32 options;
};
#define ONE_SELECT 0 /* PORTAL_ONE_SELECT: one plan, of a SELECT, and no utility command */
#define MULTI_QUERY 4 /* PORTAL_MULTI_QUERY: it gives no rows, and cannot run twice */

/* Whether a portal has run before. Where it gave no rows it is still at its start, and at its end as
 * well (Portal.atEnd), as one of MULTI_QUERY always is. */
INLINE int goes_on(struct config *config, __u64 portal)
{
	__u8 place[2] = {};
	__u32 strategy = MULTI_QUERY;
	bpf_probe_read_user(place, sizeof(place), (void *)(portal + config->portal_at_start));
	if (!place[0] || !place[1])
		return !place[0];
	bpf_probe_read_user(&strategy, sizeof(strategy),
			    (void *)(portal + config->portal_statements +
				     __builtin_offsetof(struct portal_part, strategy)));
	return strategy != MULTI_QUERY;
}

/* The first statement of a portal, as the planner left it. */
INLINE __u64 first_planned(struct config *config, struct portal_part *part)
{
	__u64 list = part->statements;
	return list ? read_u64(read_u64(list + config->list_cells)) : 0;
}

/* Whether EXPLAIN is about a utility command: with ANALYZE it runs CREATE TABLE AS. */
INLINE int explains_utility(struct config *config, __u64 planned)
{
	__u32 command = 0;
	__u64 query = read_u64(read_u64(planned + config->planned_utility) + EXPLAIN_QUERY);
	bpf_probe_read_user(&command, sizeof(command), (void *)(query + 4)); /* commandType */
	return command == config->command_utility;
}

/* Whether COPY reaches beyond the database: a program, or a file of the server. */
INLINE int copies_outside(struct config *config, __u64 planned)
{
	return read_u64(read_u64(planned + config->planned_utility) + COPY_FILENAME) != 0;
}

/* In lower case. */
INLINE __u64 first_letters(__u64 text)
{
	__u64 word = 0;
	for (int i = 0; i < LEADING_SPACE && read_u8(text) - 1U < ' '; i++)
		text += 1;
	bpf_probe_read_user(&word, sizeof(word), (void *)text);
	return word | 0x2020202020202020; /* NUL becomes a space */
}

/* Of a utility command, whether it changes what outlives it. Such that begin with SELECT make a
 * table. */
INLINE int is_lasting(struct config *config, __u64 planned, __u64 text)
{
	__u64 word = first_letters(text);
	switch ((__u32)word) {
	case WORD('s', 'e', 'l', 'e'):
		return 1;
	case WORD('e', 'x', 'p', 'l'):
		return explains_utility(config, planned);
	case WORD('c', 'o', 'p', 'y'):
		return copies_outside(config, planned);
	}
	return !is_everyday(word) && !is_everyday_long(word);
}

/* Asked of texts that user space does not know yet. */
INLINE __u32 is_urgent(struct config *config, __u64 portal, __u64 text)
{
	__u32 command = 0, place[2] = {};
	struct portal_part part = {.strategy = ~0U};
	bpf_probe_read_user(&part, sizeof(part), (void *)(portal + config->portal_statements));
	if (part.strategy == ONE_SELECT && part.statements)
		return 0; /* most of all, and told without looking at its plan */
	__u64 planned = first_planned(config, &part);
	bpf_probe_read_user(&command, sizeof(command), (void *)(planned + 4)); /* commandType */
	if (command != config->command_utility)
		return 0;
	/* Of several statements in one text it is this one that counts. */
	bpf_probe_read_user(place, 4, (void *)(planned + config->planned_utility + 8));
	return is_lasting(config, planned, place[0] < TEXT_HUGE ? text + place[0] : text);
}

#endif
