/* Capture of PostgreSQL's client backends.
 *
 * Two hits for each execution: PortalRun when it starts, secure_write when it is answered. The rest
 * fires rarely. Everything that is not a client backend of a watched cluster leaves early, and
 * parsing is left to user space. No kernel struct is read: globals of the server are found by their
 * distance from the probed function.
 */
#include "compat.bpf.h"
#include "postgres.bpf.h"

#ifndef RING_BYTES
#define RING_BYTES (8 << 20) /* the loader sets the real size */
#endif
#ifndef SESSIONS
#define SESSIONS 8192
#endif
#define CLUSTERS 256
#define STOP_SIGNAL 19 /* SIGSTOP on x86-64 */
#define LENGTH_CHUNKS 256

DECLARE_RING(records, RING_BYTES);
DECLARE_ARRAY(configs, struct config);
DECLARE_ARRAY(judges, struct judge);
DECLARE_ARRAY(blanks, struct session_state); /* too large for the stack */
DECLARE_HASH(sessions, __u32, struct session_state, SESSIONS);
DECLARE_HASH(clusters, __s64, struct cluster, CLUSTERS);
DECLARE_PERCPU_ARRAY(losses, __u64, LOSSES);

#define INLINE static __always_inline

INLINE void count_loss(__u32 reason)
{
	__u64 *count = LOOKUP(losses, &reason);
	if (count)
		*count += 1;
}

INLINE struct config *find_config(void)
{
	__u32 zero = 0;
	return LOOKUP(configs, &zero);
}

INLINE struct session_state *find_session(void)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	return LOOKUP(sessions, &pid);
}

INLINE __u64 read_u64(__u64 address)
{
	__u64 value = 0;
	bpf_probe_read_user(&value, sizeof(value), (void *)address);
	return value;
}

INLINE __u8 read_u8(__u64 address)
{
	__u8 value = 0;
	bpf_probe_read_user(&value, sizeof(value), (void *)address);
	return value;
}

/* The reader looks every few milliseconds by itself: waking it for each record would cost the
 * backend more than the record. */
INLINE __u64 wakeup(void)
{
#ifdef PGWARDEN_BCC
	return BPF_RB_NO_WAKEUP; /* bcc 0.26 cannot ask how full the ring is */
#else
	__u64 limit = bpf_ringbuf_query(&records, BPF_RB_RING_SIZE) / 4;
	return bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA) > limit ? BPF_RB_FORCE_WAKEUP
								      : BPF_RB_NO_WAKEUP;
#endif
}

INLINE void fill_head(struct record_head *head, __u32 kind, __s64 session_us)
{
	head->kind = kind;
	head->pid = bpf_get_current_pid_tgid() >> 32;
	head->at_ns = bpf_ktime_get_ns();
	head->session_us = session_us;
}

/* When the client's message arrived. MyBEEntry never changes in a backend: read once. */
INLINE __s64 read_requested(struct config *config, __u64 base, struct session_state *session)
{
	if (!session->status && config->my_be_entry)
		session->status = read_u64(base + config->my_be_entry);
	if (!session->status)
		return 0;
	return read_u64(session->status + config->status_activity_start);
}

/* A backend of a cluster that nobody asked for: say so once. */
INLINE void report_stranger(__s64 started_us)
{
	struct cluster unknown = {};
	if (INSERT(clusters, &started_us, &unknown))
		return;
	struct stranger_record *record = RESERVE(records, sizeof(*record));
	if (!record) {
		DELETE(clusters, &started_us);
		count_loss(LOSS_STRANGER);
		return;
	}
	fill_head(&record->head, RECORD_STRANGER, 0);
	record->started_us = started_us;
	SUBMIT(records, record, wakeup());
}

/* The state of a client backend at its first hit; NULL for everybody else. Parallel workers,
 * background workers and autovacuum have no Port. */
INLINE struct session_state *meet(struct config *config, __u64 base)
{
	__u32 zero = 0;
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	if (!read_u64(base + config->my_proc_port))
		return 0;
	__s64 started_us = read_u64(base + config->pg_start_time);
	struct cluster *cluster = LOOKUP(clusters, &started_us);
	if (!cluster) {
		report_stranger(started_us);
		return 0;
	}
	if (!cluster->watched)
		return 0;
	struct session_state *blank = LOOKUP(blanks, &zero);
	if (!blank)
		return 0;
	INSERT(sessions, &pid, blank);
	struct session_state *session = LOOKUP(sessions, &pid);
	if (!session) {
		count_loss(LOSS_TABLE_FULL);
		return 0;
	}
	session->session_us = read_u64(base + config->my_start_timestamp);
	session->cluster = cluster->number;
	session->walsender = read_u8(base + config->am_walsender);
	session->starting = read_u8(base + config->client_auth_in_progress);
	return session;
}

INLINE void announce(struct config *config, __u64 base, struct session_state *session)
{
	struct session_record *record = RESERVE(records, sizeof(*record));
	if (!record) {
		count_loss(LOSS_SESSION); /* and try again at the next hit */
		return;
	}
	__u64 port = read_u64(base + config->my_proc_port);
	__u64 raddr = port + config->port_raddr;
	fill_head(&record->head, RECORD_SESSION, session->session_us);
	record->cluster = session->cluster;
	record->family = 0;
	bpf_probe_read_user(&record->family, 2, (void *)raddr);
	bpf_probe_read_user(&record->port_be, 2, (void *)(raddr + 2));
	__u32 skip = record->family == 10 ? 8 : 4; /* sin6_addr lies behind sin6_flowinfo */
	bpf_probe_read_user(record->address, 16, (void *)(raddr + skip));
	bpf_probe_read_user_str(record->user, NAME_BYTES,
				(void *)read_u64(port + config->port_user_name));
	bpf_probe_read_user_str(record->database, NAME_BYTES,
				(void *)read_u64(port + config->port_database_name));
	bpf_probe_read_user_str(record->application, NAME_BYTES,
				(void *)read_u64(base + config->application_name));
	SUBMIT(records, record, wakeup());
	session->announced = 1;
}

INLINE __u32 hold(void)
{
	__u32 zero = 0;
	struct judge *judge = LOOKUP(judges, &zero);
	if (!judge || !judge->hold)
		return 0;
	if (bpf_ktime_get_ns() - judge->beat_ns > judge->window_ns)
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

INLINE struct session_state *enter(struct config *config, __u64 base)
{
	struct session_state *session = find_session();
	if (!session)
		session = meet(config, base);
	if (!session)
		return 0;
	if (!session->announced)
		announce(config, base, session);
	return session;
}

PROBE("uprobe")
int on_portal_run(struct pt_regs *ctx)
{
	struct config *config = find_config();
	if (!config)
		return 0;
	__u64 base = PT_REGS_IP(ctx) - config->entry_portal_run;
	struct session_state *session = enter(config, base);
	if (!session)
		return 0;
	__u64 portal = PT_REGS_PARM1(ctx);
	struct occasion what = {};
	what.requested_us = read_requested(config, base, session);
	what.text = read_u64(portal + config->portal_source_text);
	start_statement(session, PT_REGS_SP(ctx), &what);
	return 0;
}

PROBE("uprobe")
int on_fastpath(struct pt_regs *ctx)
{
	struct config *config = find_config();
	if (!config)
		return 0;
	__u64 base = PT_REGS_IP(ctx) - config->entry_fastpath;
	struct session_state *session = enter(config, base);
	if (!session)
		return 0;
	struct occasion what = {};
	what.protocol = PROTOCOL_FASTPATH;
	what.requested_us = read_requested(config, base, session);
	start_statement(session, PT_REGS_SP(ctx), &what);
	return 0;
}

PROBE("uprobe")
int on_replication(struct pt_regs *ctx)
{
	struct config *config = find_config();
	if (!config)
		return 0;
	__u64 base = PT_REGS_IP(ctx) - config->entry_replication;
	struct session_state *session = enter(config, base);
	if (!session)
		return 0;
	struct occasion what = {};
	what.protocol = PROTOCOL_REPLICATION;
	what.requested_us = read_requested(config, base, session);
	what.text = PT_REGS_PARM1(ctx);
	start_statement(session, PT_REGS_SP(ctx), &what);
	return 0;
}

PROBE("uprobe")
int on_report_appname(struct pt_regs *ctx)
{
	struct session_state *session = find_session();
	if (!session || !session->announced)
		return 0; /* the session record will bring it */
	struct application_record *record = RESERVE(records, sizeof(*record));
	if (!record) {
		count_loss(LOSS_APPLICATION);
		return 0;
	}
	fill_head(&record->head, RECORD_APPLICATION, session->session_us);
	record->application[0] = 0;
	bpf_probe_read_user_str(record->application, NAME_BYTES, (void *)PT_REGS_PARM1(ctx));
	SUBMIT(records, record, wakeup());
	return 0;
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

struct writing {
	__u64 start;
	__u64 bytes;
	__u8 ready;
	__u8 aligned;
};

INLINE void fill_response(struct response_record *record, struct session_state *session,
			  struct writing *write)
{
	fill_head(&record->head, RECORD_RESPONSE, session->session_us);
	record->bytes_sent = session->bytes;
	record->requested_us = session->starts ? session->requested_us : 0;
	record->write_bytes = write->bytes;
	record->carry_bytes = 0;
	record->head_bytes = 0;
	record->tail_bytes = 0;
	record->write = session->writes;
	record->aligned = write->aligned;
	record->ready = write->ready;
	record->padding = 0;
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
	struct response_record *record = RESERVE(records, sizeof(*record) + RESPONSE_SMALL);
	if (!record) /* since 6.15 the ring's lock may be given up under contention */
		record = RESERVE(records, sizeof(*record) + RESPONSE_SMALL);
	if (!record)
		return 0;
	__u32 bytes = write->bytes;
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
		RESERVE(records, sizeof(*record) + CARRY_BYTES + RESPONSE_MEDIUM);
	if (!record)
		return 0;
	char *data = (char *)(record + 1) + CARRY_BYTES;
	fill_response(record, session, write);
	fill_carry(record, session);
	if (write->bytes <= RESPONSE_MEDIUM) {
		__u32 bytes = write->bytes;
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
		RESERVE(records, sizeof(*record) + CARRY_BYTES + RESPONSE_LARGE);
	if (!record)
		return 0;
	char *data = (char *)(record + 1) + CARRY_BYTES;
	__u32 bytes = write->bytes < RESPONSE_LARGE ? write->bytes : RESPONSE_LARGE;
	if (bytes > RESPONSE_LARGE)
		bytes = RESPONSE_LARGE;
	fill_response(record, session, write);
	fill_carry(record, session);
	bpf_probe_read_user(data, bytes, (void *)write->start);
	record->head_bytes = bytes;
	SUBMIT(records, record, wakeup());
	return 1;
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

/* ReadyForQuery at the end of the write, of which the buffer's end may have cut off the beginning.
 * The last six bytes go into one number, the last one lowest. */
INLINE __u8 ends_ready(struct session_state *session, struct writing *write)
{
	__u8 tail[READY_BYTES] = {};
	__u64 last = 0;
	if (write->bytes >= READY_BYTES)
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
	return (last & 0xff) == 'I' || (last & 0xff) == 'T' || (last & 0xff) == 'E';
}

INLINE void begin_round_trip(struct session_state *session)
{
	session->writes = 0;
	session->starts = 0;
	session->full_copies = 0;
	session->carry_bytes = 0;
	session->outer_stack = 0;
	session->text = 0;
}

/* Which writes are worth a record: the end of a round trip, what the server flushed on purpose (an
 * error always is), and full buffers where several statements share one round trip. */
INLINE int worth_sending(struct session_state *session, struct writing *write, int flushed)
{
	if (write->ready)
		return 1;
	if (session->walsender || (write->aligned && !flushed))
		if (write->aligned && read_u8(write->start) == 'E')
			return 1;
	if (session->walsender)
		return 0;
	if (flushed)
		return 1;
	if (session->starts < 2 || session->full_copies >= FULL_COPIES)
		return 0;
	session->full_copies += 1;
	return 1;
}

PROBE("uprobe")
int on_secure_write(struct pt_regs *ctx)
{
	struct config *config = find_config();
	if (!config)
		return 0;
	__u64 base = PT_REGS_IP(ctx) - config->entry_secure_write;
	struct writing write = {};
	write.start = PT_REGS_PARM2(ctx);
	write.bytes = PT_REGS_PARM3(ctx);
	struct session_state *session = find_session();
	if (!session) {
		session = meet(config, base);
		if (!session)
			return 0;
		/* Authentication is over, but BackendKeyData, the cancel key, is yet to come. */
		if (read_u8(write.start) == 'R')
			session->starting = 1;
	}
	/* The rest of a write that the socket took only in part. */
	if (write.start + write.bytes == session->write_end && write.start > session->write_start)
		return 0;
	session->write_start = write.start;
	session->write_end = write.start + write.bytes;
	write.ready = ends_ready(session, &write);
	if (session->starting) {
		/* Nothing of the start-up is ever copied. */
		if (write.ready) {
			session->starting = 0;
			session->aligned = 1;
			announce(config, base, session);
		}
		return 0;
	}
	if (!session->announced)
		announce(config, base, session);

	session->bytes += write.bytes;
	write.aligned = session->aligned;
	int flushed = write.bytes < SEND_BUFFER_BYTES;
	session->aligned = write.ready || flushed;
	if (!worth_sending(session, &write, flushed)) {
		keep_carry(session, &write);
		session->writes += 1;
		return 0;
	}
	if (!write.ready && flushed && !session->walsender)
		report_failed(config, base, session);
	int sent;
	if (write.aligned && write.bytes <= RESPONSE_SMALL)
		sent = send_small(session, &write);
	else if (!write.ready || (session->starts > 1 && write.bytes > RESPONSE_MEDIUM))
		sent = send_large(session, &write);
	else
		sent = send_medium(session, &write);
	if (!sent)
		count_loss(LOSS_RESPONSE);
	session->writes += 1;
	if (write.ready)
		begin_round_trip(session);
	else
		keep_carry(session, &write);
	return 0;
}

PROBE("raw_tp/sched_process_exit")
int on_exit(void *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 pid = id >> 32;
	if (pid != (__u32)id)
		return 0;
	struct session_state *session = LOOKUP(sessions, &pid);
	if (!session)
		return 0;
	if (session->announced) {
		struct record_head *record = RESERVE(records, sizeof(*record));
		if (record) {
			fill_head(record, RECORD_EXIT, session->session_us);
			SUBMIT(records, record, wakeup());
		} else {
			count_loss(LOSS_EXIT);
		}
	}
	DELETE(sessions, &pid);
	return 0;
}

#ifndef PGWARDEN_BCC
char LICENSE[] SEC("license") = "GPL";
#endif
