/* A statement that was alone in its round trip and did not fail: one record tells all of it. Where
 * the reader is behind, statements with a known text are counted instead of told. */
#ifndef PGWARDEN_EXECUTIONS_BPF_H
#define PGWARDEN_EXECUTIONS_BPF_H

#include "responses.bpf.h"
#include "statements.bpf.h"

#define COUNT_DIGITS 10

#define TAG_END (TAIL_BYTES - READY_BYTES - 1) /* of the tail: the last byte before ReadyForQuery */
#define TAG_START_LATEST (TAG_END - 7)	      /* the shortest tag is DO */

INLINE int is_suspended(__u8 *tail)
{
	return tail[TAG_END] == 4 && tail[TAG_END - 4] == 's';
}

/* CommandComplete or PortalSuspended right before ReadyForQuery; in between may lie a parameter's
 * new value or a notification. */
SEPARATE int ends_with_tag(struct session_state *session, __u64 bytes)
{
	if (!session)
		return 0;
	__u8 *tail = session->tail;
	if (is_suspended(tail))
		return 1;
	for (int i = TAG_START_LATEST; i >= 0; i--) {
		if (tail[i] == 'C' && !tail[i + 1] && !tail[i + 2] && !tail[i + 3] &&
		    tail[i + 4] == TAG_END - i)
			return bytes + i >= TAIL_BYTES;
	}
	return 0;
}

/* An error is always flushed on purpose, so where nothing was, the last message before
 * ReadyForQuery says how the statement ended, and lies within the tail. */
INLINE int is_simple(struct session_state *session, struct writing *write)
{
	if (!session->pending || session->protocol != PROTOCOL_QUERY || !write->ready || session->flushed ||
	    (session->writes && write->bytes < TAIL_BYTES))
		return 0;
	if (TAIL_AT_ONCE ? !write->tail_read : !read_tail(session, write))
		return 0;
	return ends_with_tag(session, write->bytes);
}

INLINE int reader_behind(struct config *config, struct judge *judge)
{
	if (config->aggregate == AGGREGATE_ALWAYS)
		return 1;
	if (config->aggregate == AGGREGATE_NEVER)
		return 0;
	if (judge && judge->pressed)
		return 1;
	return QUERY(records, BPF_RB_AVAIL_DATA) > QUERY(records, BPF_RB_RING_SIZE) / 2;
}

/* The number at the end of `SELECT 42`; 0 for a tag without. */
INLINE __u64 count_in_tag(__u8 *tail)
{
	__u64 rows = 0, power = 1;
	for (int i = TAG_END - 1; i >= TAG_END - COUNT_DIGITS; i--) {
		if (tail[i] < '0' || tail[i] > '9')
			break;
		rows += (tail[i] - '0') * power;
		power *= 10;
	}
	return rows;
}

INLINE __u32 duration_class(__u64 duration_ns)
{
	__u64 us = duration_ns / 1000;
	__u32 class = 0;
	for (int i = 0; i < DURATION_CLASSES - 1; i++) {
		if (!us)
			break;
		us >>= 1;
		class += 1;
	}
	return class;
}

/* Each backend has entries of its own, so nothing here needs to be atomic. */
INLINE int count_execution(struct judge *judge, struct session_state *session)
{
	__u32 zero = 0;
	struct aggregate_key key = {};
	key.session_us = session->session_us;
	key.pid = bpf_get_current_pid_tgid() >> 32;
	key.text_id = session->text_id;
	key.epoch = judge ? judge->epoch : 0;
	key.naming = session->naming;
	struct aggregate *all = LOOKUP(aggregates, &key);
	if (!all) {
		struct aggregate *blank = LOOKUP(blank_aggregates, &zero);
		if (!blank)
			return 0;
		INSERT(aggregates, &key, blank);
		all = LOOKUP(aggregates, &key);
		if (!all)
			return 0;
		all->first_ns = session->started_ns;
	}
	__u64 now_ns = bpf_ktime_get_ns();
	__u64 duration_ns = now_ns - session->started_ns;
	__u32 class = duration_class(duration_ns);
	all->count += 1;
	all->rows += is_suspended(session->tail) ? session->row_limit : count_in_tag(session->tail);
	all->bytes += session->bytes;
	all->duration_ns += duration_ns;
	all->last_ns = now_ns;
	if (class < DURATION_CLASSES)
		all->durations[class] += 1;
	session->bytes = 0;
	return 1;
}

INLINE void fill_execution(struct execution_record *record, struct session_state *session,
			   struct writing *write)
{
	fill_head(&record->head, RECORD_EXECUTION, session->session_us);
	record->started_ns = session->started_ns;
	record->requested_us = session->requested_us;
	record->bytes_sent = session->bytes;
	record->text_key = session->text_key;
	record->text_bytes = session->kept_bytes;
	record->text_id = session->text_id;
	record->row_limit = session->row_limit;
	record->before = session->transaction;
	record->urgent = session->urgent;
	record->continued = session->continued;
	session->bytes = 0;
	record->tail_bytes = write->bytes < TAIL_BYTES ? write->bytes : TAIL_BYTES;
	for (int i = 0; i < TAIL_BYTES / 8; i++)
		((__u64 *)record->tail)[i] = ((__u64 *)session->tail)[i];
}

/* `bytes` must be a constant. */
INLINE int send_execution(struct session_state *session, struct writing *write, __u32 bytes)
{
	struct execution_record *record = reserve(session, session->urgent, sizeof(*record) + bytes);
	if (!record)
		return 0;
	fill_execution(record, session, write);
	if (bytes)
		bpf_probe_read_kernel(record + 1, bytes, session->kept);
	SUBMIT(records, record, wakeup());
	return 1;
}

INLINE void tell_execution(struct config *config, struct session_state *session,
			   struct writing *write)
{
	struct judge *judge = find_judge();
	int sent;
	session->pending = 0;
	if (session->text_id && !session->urgent && reader_behind(config, judge) &&
	    count_execution(judge, session))
		return;
	if (session->text_id)
		sent = send_execution(session, write, 0);
	else if (session->kept_bytes <= EXECUTION_SMALL)
		sent = send_execution(session, write, EXECUTION_SMALL);
	else if (session->kept_bytes <= EXECUTION_MEDIUM)
		sent = send_execution(session, write, EXECUTION_MEDIUM);
	else
		sent = send_execution(session, write, TEXT_KEPT);
	if (sent)
		return;
	if (session->text_id && !session->urgent && config->aggregate != AGGREGATE_NEVER &&
	    count_execution(judge, session))
		return;
	count_lost(session, session->urgent, LOSS_EXECUTION);
}

#endif
