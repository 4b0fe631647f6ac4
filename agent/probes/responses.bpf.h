/* Which writes to a client are worth a record, and how much of them is copied. */
#ifndef PGWARDEN_RESPONSES_BPF_H
#define PGWARDEN_RESPONSES_BPF_H

#include "messages.bpf.h"

/* NULL: it is the rest of one that the socket took only in part. */
INLINE struct writing *new_writing(struct session_state *session, __u64 start, __u64 bytes)
{
	struct writing *write = &session->writing;
	__u64 end = write->start + write->bytes;
	if (start + bytes == end && start > write->start)
		return 0;
	write->start = start;
	write->bytes = bytes;
	write->result = 0;
	write->requested_us = 0;
	write->failed = FAILED_NONE;
	return write;
}

INLINE void fill_response(struct response_record *record, struct session_state *session,
			  struct writing *write)
{
	fill_head(&record->head, RECORD_RESPONSE, session->session_us);
	record->bytes_sent = session->bytes;
	record->requested_us = write->requested_us;
	record->starts = session->starts;
	record->round = session->round;
	record->write_bytes = write->bytes;
	record->begins = session->walsender && write->aligned ? 0 : session->stream.begins;
	record->ended = session->stream.counted ? session->stream.endings : UNKNOWN;
	record->carry_bytes = 0;
	record->head_bytes = 0;
	record->tail_bytes = 0;
	record->write = session->writes;
	record->walsender = session->walsender;
	record->ready = write->ready != 0;
	record->before = session->transaction;
	record->failed = write->failed;
	session->bytes = 0;
}

INLINE void fill_carry(struct response_record *record, struct session_state *session)
{
	/* bcc would turn a copy between maps and records into a call: a loop is neither. */
	__u64 *to = (__u64 *)(record + 1);
	__u64 *from = (__u64 *)session->carry;
	for (int i = 0; i < CARRY_BYTES / 8; i++)
		to[i] = from[i];
	record->carry_bytes = session->carry_bytes;
}

INLINE int send_small(struct session_state *session, struct writing *write)
{
	struct response_record *record =
		reserve(session, session->urgent, sizeof(*record) + RESPONSE_SMALL);
	if (!record)
		return 0;
	__u64 bytes = write->bytes;
	HIDE(bytes); /* the limits are for the verifier: they must stay */
	if (bytes > RESPONSE_SMALL)
		bytes = RESPONSE_SMALL;
	fill_response(record, session, write);
	bpf_probe_read_user(record + 1, bytes, (void *)write->start);
	record->head_bytes = bytes;
	SUBMIT(records, record, wakeup());
	return 1;
}

INLINE int send_medium(struct session_state *session, struct writing *write)
{
	struct response_record *record =
		reserve(session, session->urgent, sizeof(*record) + CARRY_BYTES + RESPONSE_MEDIUM);
	if (!record)
		return 0;
	char *data = (char *)(record + 1) + CARRY_BYTES;
	fill_response(record, session, write);
	fill_carry(record, session);
	if (write->bytes <= RESPONSE_MEDIUM) {
		__u64 bytes = write->bytes;
		HIDE(bytes);
		if (bytes > RESPONSE_MEDIUM)
			bytes = RESPONSE_MEDIUM;
		bpf_probe_read_user(data, bytes, (void *)write->start);
		record->head_bytes = bytes;
	} else {
		bpf_probe_read_user(data, RESPONSE_HEAD, (void *)write->start);
		bpf_probe_read_user(data + RESPONSE_HEAD, RESPONSE_TAIL,
				    (void *)(write->start + write->bytes - RESPONSE_TAIL));
		record->head_bytes = RESPONSE_HEAD;
		record->tail_bytes = RESPONSE_TAIL;
	}
	SUBMIT(records, record, wakeup());
	return 1;
}

INLINE int send_large(struct session_state *session, struct writing *write)
{
	struct response_record *record =
		reserve(session, session->urgent, sizeof(*record) + CARRY_BYTES + RESPONSE_LARGE);
	if (!record)
		return 0;
	char *data = (char *)(record + 1) + CARRY_BYTES;
	__u64 bytes = write->bytes < RESPONSE_LARGE ? write->bytes : RESPONSE_LARGE;
	HIDE(bytes);
	if (bytes > RESPONSE_LARGE)
		bytes = RESPONSE_LARGE;
	fill_response(record, session, write);
	fill_carry(record, session);
	bpf_probe_read_user(data, bytes, (void *)write->start);
	record->head_bytes = bytes;
	SUBMIT(records, record, wakeup());
	return 1;
}

INLINE int send_response(struct session_state *session, struct writing *write)
{
	if (write->aligned && write->bytes <= RESPONSE_SMALL)
		return send_small(session, write);
	int several = session->starts > 1 || session->stream.telling;
	if (!write->ready || (several && write->bytes > RESPONSE_MEDIUM))
		return send_large(session, write);
	return send_medium(session, write);
}

/* Of a statement that failed before it began nothing else tells, and nothing of a later one of its
 * message that did not begin. */
INLINE void count_lost_answer(struct session_state *session, struct writing *write)
{
	count_loss(session->urgent ? LOSS_URGENT_RESPONSE : LOSS_RESPONSE);
	int unbegun = session->stream.counted && session->stream.endings == session->starts;
	if (write->failed == FAILED_TEXT_TOLD || write->failed == FAILED_TEXT_LOST ||
	    (write->failed == FAILED_TEXT_SAME && unbegun))
		count_lost(session, session->urgent, LOSS_STATEMENT);
}

/* The end of a write that is not copied, for a message that goes on in the next one. */
INLINE void keep_carry(struct session_state *session, struct writing *write)
{
	session->carry_bytes = 0;
	if (write->bytes < SEND_BUFFER_BYTES) /* flushed: its last message is complete */
		return;
	if (bpf_probe_read_user(session->carry, CARRY_BYTES,
				(void *)(write->start + write->bytes - CARRY_BYTES)) == 0)
		session->carry_bytes = CARRY_BYTES;
}

/* Where a statement waits for its answer: the last bytes of it, in one reading all that is needed of
 * a simple one. What lies before a shorter answer is not its own. */
INLINE int read_tail(struct session_state *session, struct writing *write)
{
	write->tail_read = session->pending && write->bytes >= READY_BYTES &&
			   !bpf_probe_read_user(session->tail, TAIL_BYTES,
						(void *)(write->start + write->bytes - TAIL_BYTES));
	return write->tail_read;
}

/* The transaction status of a ReadyForQuery at the end of the write, 0 where there is none. The
 * buffer's end may have cut off its beginning. The last six bytes go into one number, the last one
 * lowest. */
INLINE __u8 ends_ready(struct session_state *session, struct writing *write)
{
	__u8 tail[READY_BYTES] = {};
	__u64 last = 0;
	if (TAIL_AT_ONCE && read_tail(session, write))
		for (int i = 0; i < READY_BYTES; i++)
			tail[i] = session->tail[TAIL_BYTES - READY_BYTES + i];
	else if (write->bytes >= READY_BYTES)
		bpf_probe_read_user(tail, READY_BYTES,
				    (void *)(write->start + write->bytes - READY_BYTES));
	else if (session->carry_bytes)
		for (int i = 0; i < READY_BYTES; i++)
			tail[i] = session->carry[CARRY_BYTES - READY_BYTES + i];
	for (int i = 0; i < READY_BYTES; i++)
		last = last << 8 | tail[i];
	if (write->bytes < READY_BYTES)
		for (int i = 0; i < READY_BYTES - 1; i++)
			if (i < write->bytes)
				last = last << 8 | read_u8(write->start + i);
	if ((last >> 8 & 0xffffffffff) != ((__u64)'Z' << 32 | 5))
		return 0;
	if ((last & 0xff) == 'I' || (last & 0xff) == 'T' || (last & 0xff) == 'E')
		return last & 0xff;
	return 0;
}

/* The result of a fastpath call is one message, which says how long it is. */
INLINE void follow_result(struct session_state *session, struct writing *write)
{
	__u8 length[4] = {};
	if (session->calling == CALL_ASKED && session->aligned && read_u8(write->start) == 'V') {
		bpf_probe_read_user(length, sizeof(length), (void *)(write->start + 1));
		session->result_left = 1 + ((__u64)length[0] << 24 | (__u64)length[1] << 16 |
					    (__u64)length[2] << 8 | length[3]);
		session->calling = CALL_ANSWERED;
	}
	write->result = session->result_left < write->bytes ? session->result_left : write->bytes;
	session->result_left -= write->result;
}

/* Whether what looks like ReadyForQuery is no part of a row, whose bytes the client chooses. What is
 * flushed on purpose ends with a message, which only in a walsender may be data (the first releases
 * of 12 noted no text of its commands). A full buffer ends anywhere, and since 17 long data is written by itself.
 * ReadyForQuery comes when a message has been dealt with, and debug_query_string does not point to
 * its text any more. A fastpath call has no text: where its result does not begin a write (behind an
 * Execute without Sync), a full buffer is not believed, and the next ReadyForQuery ends it. */
INLINE int is_believed(struct config *config, __u64 base, struct session_state *session,
		       struct writing *write)
{
	if (write->bytes < SEND_BUFFER_BYTES && !session->walsender)
		return 1;
	if (read_u64(base + config->debug_query_string))
		return 0;
	return !session->calling || (session->calling == CALL_ANSWERED &&
				     write->result + READY_BYTES <= write->bytes);
}

INLINE __u8 read_ready(struct config *config, __u64 base, struct session_state *session,
		       struct writing *write)
{
	__u8 ready = ends_ready(session, write);
	if (session->calling)
		follow_result(session, write);
	return ready && is_believed(config, base, session, write) ? ready : 0;
}

INLINE void begin_round_trip(struct session_state *session)
{
	session->round += 1;
	session->writes = 0;
	session->starts = 0;
	session->stream.endings = 0;
	session->stream.counted = !session->walsender;
	session->carry_bytes = 0;
	session->outer_stack = 0;
	session->text = 0;
	session->pending = 0;
	session->flushed = 0;
	session->urgent = 0;
	session->calling = 0;
	session->asked = ASKED_NOTHING;
	session->claim_us = 0;
}

/* Which writes are worth a record: the end of a round trip, what the server flushed on purpose (an
 * error always is), and full buffers in which statements end. */
INLINE int worth_sending(struct session_state *session, struct writing *write)
{
	if (write->ready)
		return 1;
	if (session->stream.begins != UNKNOWN)
		return session->stream.telling;
	int streams = session->walsender && session->asked != ASKED_SQL;
	if (streams || !write->flushed)
		return write->aligned && read_u8(write->start) == 'E';
	return 1;
}

/* Whether the write brings an error, as far as is known. */
INLINE int brings_error(struct session_state *session, struct writing *write)
{
	if (session->stream.begins != UNKNOWN)
		return session->stream.failed;
	return write->flushed && !write->ready && !session->walsender;
}

#endif
