/* What the plan of a statement touches, as one number: the same text may come to mean another
 * relation (search_path, a view that was replaced, a table renamed and another put in its place),
 * and what was allowed then says nothing of it. Made only where statements are held. */
#ifndef PGWARDEN_PLANS_BPF_H
#define PGWARDEN_PLANS_BPF_H

#include "texts.bpf.h"

#define COMMAND_UPDATE 2 /* CmdType */
#define COMMAND_DELETE 4
#define PLAN_CONDITION 56 /* Plan.qual */
#define PLAN_LEFT 64	  /* Plan.lefttree */
#define ITEM_HASH 8	  /* PlanInvalItem.hashValue */

/* Memory that cannot be read now (paged out) is a plan that nobody has seen. Here as below: without
 * a branch, or the verifier would walk twice as far with each step of a loop. */
INLINE __u64 read_plan(struct occasion *what, __u64 address, __u32 bytes)
{
	__u64 value = 0;
	what->unreadable |= bpf_probe_read_user(&value, bytes, (void *)address);
	return value;
}

INLINE void begin_list(struct config *config, struct occasion *what, __u64 list)
{
	what->cells = 0;
	if (!list)
		return;
	what->cells = read_plan(what, list + 4, 4); /* List.length */
	what->cell = read_plan(what, list + config->list_cells, 8);
}

/* Before PostgreSQL 13, where config.list_cells is 8, a cell leads to the next one; since then, where
 * it is 16, they lie side by side. */
INLINE __u64 next_cell(struct config *config, __u64 cell)
{
	__u64 linked = -(__u64)(config->list_cells >> 3 & 1);
	return (read_u64(cell + 8) & linked) | ((cell + 8) & ~linked);
}

/* Takes some relations of the list that was begun into the number. */
SEPARATE int mix_some(struct config *config, struct session_state *session)
{
	if (!config || !session)
		return 0;
	struct occasion *what = &session->occasion;
	struct sip s = what->mix;
	__u64 cell = what->cell;
	__u64 left = what->cells;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < RELATIONS_AT_ONCE; i++) {
		__u64 there = -(((__u64)0 - left) >> 63); /* all ones, or 0 behind the last one */
		__u64 relation = 0;
		if (STOP_EARLY(!left))
			break;
		what->unreadable |= bpf_probe_read_user(&relation, 4, (void *)cell) & there;
		sip_word(&s, relation & there);
		cell = next_cell(config, cell);
		left += there; /* one less */
	}
	what->mix = s;
	what->cell = cell;
	what->cells = left;
	return left != 0;
}

/* All of a list of numbers. */
SEPARATE int mix_list(struct config *config, struct session_state *session, __u64 list)
{
	if (!config || !session)
		return 0;
	struct occasion *what = &session->occasion;
	begin_list(config, what, list);
	struct sip s = what->mix;
	sip_word(&s, what->cells);
	what->mix = s;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < RELATION_LOTS; i++)
		if (!mix_some(config, session))
			break;
	if (what->cells)
		what->unseen = 1;
	return 1;
}

/* As mix_some, of PlanInvalItems: what stands for a function or domain is a hash of its oid. */
SEPARATE int mix_some_items(struct config *config, struct session_state *session)
{
	if (!config || !session)
		return 0;
	struct occasion *what = &session->occasion;
	struct sip s = what->mix;
	__u64 cell = what->cell;
	__u64 left = what->cells;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < RELATIONS_AT_ONCE; i++) {
		__u64 there = -(((__u64)0 - left) >> 63);
		__u64 hash = 0;
		if (STOP_EARLY(!left))
			break;
		__u64 item = read_u64(cell);
		what->unreadable |= bpf_probe_read_user(&hash, 4, (void *)(item + ITEM_HASH)) & there;
		sip_word(&s, hash & there);
		cell = next_cell(config, cell);
		left += there;
	}
	what->mix = s;
	what->cell = cell;
	what->cells = left;
	return left != 0;
}

/* Functions and domains that did not come with the server, those within functions in SQL that have
 * become a part of the plan as well: what is behind the same text may be another function by now. */
SEPARATE int mix_items(struct config *config, struct session_state *session, __u64 list)
{
	if (!config || !session)
		return 0;
	struct occasion *what = &session->occasion;
	begin_list(config, what, list);
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < RELATION_LOTS; i++)
		if (!mix_some_items(config, session))
			break;
	if (what->cells)
		what->unseen = 1;
	return 1;
}

/* How an UPDATE or DELETE finds its rows: the node below the one that changes them, and whether it
 * has a condition. agent/guard/whole.py knows when that says all. */
SEPARATE int mix_condition(struct config *config, struct session_state *session, __u64 tree)
{
	if (!config || !session)
		return 0;
	struct occasion *what = &session->occasion;
	__u64 below;
	if (config->changed_parts) {
		begin_list(config, what, read_plan(what, tree + config->changed_parts, 8));
		below = what->cells == 1 ? read_plan(what, what->cell, 8) : 0;
		what->cells = 0;
	} else {
		below = read_plan(what, tree + PLAN_LEFT, 8);
	}
	if (!below)
		return 1;
	__u64 node = read_plan(what, below, 4);
	__u64 condition = read_plan(what, below + PLAN_CONDITION, 8) != 0;
	struct sip s = what->mix;
	sip_word(&s, node | condition << 32);
	what->mix = s;
	return 1;
}

/* commandType, relationOids, resultRelations and invalItems of one PlannedStmt. */
SEPARATE int mix_planned(struct config *config, struct session_state *session, __u64 planned)
{
	if (!config || !session)
		return 0;
	struct occasion *what = &session->occasion;
	__u64 command = read_plan(what, planned + 4, 4);
	struct sip s = what->mix;
	sip_word(&s, command);
	what->mix = s;
	mix_list(config, session, read_plan(what, planned + config->planned_relations, 8));
	mix_list(config, session, read_plan(what, planned + config->planned_results, 8));
	__u64 items = read_plan(what, planned + config->planned_relations + 8, 8);
	if (items)
		mix_items(config, session, items);
	if (command == COMMAND_UPDATE || command == COMMAND_DELETE)
		mix_condition(config, session,
			      read_plan(what, planned + config->planned_tree, 8));
	return 1;
}

/* Fills what->touched; what->unseen: it is not all of it, and no hold may be left out for it. */
SEPARATE int see_plan(struct config *config, struct session_state *session)
{
	if (!config || !session)
		return 0;
	struct occasion *what = &session->occasion;
	struct sip s;
	struct text_key number;
	what->touched = 0;
	what->unreadable = 0;
	what->unseen = !what->planned;
	sip_begin(&s, config);
	what->mix = s;
	begin_list(config, what, what->planned_list ? what->planned : 0);
	__u64 cell = what->cell;
	__u32 left = what->planned_list ? what->cells : 1;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < PLANS_SEEN; i++) {
		if (!left)
			break;
		mix_planned(config, session,
			    what->planned_list ? read_plan(what, cell, 8) : what->planned);
		cell = next_cell(config, cell);
		left -= 1;
	}
	if (left)
		what->unseen = 1;
	s = what->mix;
	sip_end(&s, &number);
	if (what->unreadable)
		what->unseen = 1;
	if (!what->unseen)
		what->touched = number.high | 1; /* 0: not known */
	return 1;
}

#endif
