/* The maps, and which processes are client backends of a watched cluster. */
#ifndef PGWARDEN_SESSIONS_BPF_H
#define PGWARDEN_SESSIONS_BPF_H

#include "compat.bpf.h"
#include "postgres.bpf.h"

#ifndef RING_BYTES
#define RING_BYTES (8 << 20) /* the loader sets the real size */
#endif
#ifndef SESSIONS
#define SESSIONS 8192
#endif
#ifndef URGENT_BYTES
#define URGENT_BYTES (1 << 20)
#endif
#define CLUSTERS 256
#define KNOWN_TEXTS 16384
#define ALLOWANCES 32768
#define AGGREGATES 16384
#define FUNCTIONS 256
#define RESERVE_TRIES 12
#define BORROWED_BYTES 16384 /* at once; longer texts are cut instead */
#define BORROWED_PARTS 8

DECLARE_RING(records, RING_BYTES);
DECLARE_RING(urgents, URGENT_BYTES); /* DDL, roles, what is held: a flood of others has no part in it */
DECLARE_ARRAY(configs, struct config);
DECLARE_ARRAY(judges, struct judge);
DECLARE_ARRAY(blanks, struct session_state); /* too large for the stack */
DECLARE_SPARSE_HASH(sessions, __u32, struct session_state, SESSIONS);
DECLARE_SPARSE_HASH(texts, struct text_key, struct known_text, KNOWN_TEXTS);
DECLARE_SPARSE_HASH(classes, __u32, struct session_class, SESSIONS);
DECLARE_SPARSE_HASH(allowances, struct allowance, __u32, ALLOWANCES);
DECLARE_SPARSE_HASH(aggregates, struct aggregate_key, struct aggregate, AGGREGATES);
DECLARE_ARRAY(blank_aggregates, struct aggregate); /* too large for the stack as well */
DECLARE_HASH(clusters, __s64, struct cluster, CLUSTERS);
DECLARE_HASH(functions, __u64, struct function, FUNCTIONS);
DECLARE_PERCPU_ARRAY(losses, __u64, LOSSES);

#define INLINE static __always_inline

INLINE void count_loss(__u32 reason)
{
	__u64 *count = LOOKUP(losses, &reason);
	if (count) /* atomic: another backend may take the CPU between reading and writing */
		__sync_fetch_and_add(count, 1);
}

INLINE struct config *find_config(void)
{
	__u32 zero = 0;
	return LOOKUP(configs, &zero);
}

INLINE struct judge *find_judge(void)
{
	__u32 zero = 0;
	return LOOKUP(judges, &zero);
}

/* For tests: so many of eight tries fail as if the bulk ring's lock could not be had. */
#ifdef LOCK_GIVES_UP
#define GIVEN_UP (bpf_get_prandom_u32() % 8 < LOCK_GIVES_UP)
#else
#define GIVEN_UP 0
#endif

/* Whether of the urgent ring less is taken than one of so many parts. */
INLINE int reserved_room(__u32 parts)
{
	return QUERY(urgents, BPF_RB_AVAIL_DATA) < QUERY(urgents, BPF_RB_RING_SIZE) / parts;
}

/* As the kernel reckons: a head of eight bytes, all in steps of eight, and one byte stays free. */
INLINE int has_room(__u64 bytes)
{
	return QUERY(records, BPF_RB_AVAIL_DATA) + ((bytes + 15) & ~7ULL) <
	       QUERY(records, BPF_RB_RING_SIZE);
}

INLINE int has_urgent_room(__u64 bytes)
{
	return QUERY(urgents, BPF_RB_AVAIL_DATA) + ((bytes + 15) & ~7ULL) <
	       QUERY(urgents, BPF_RB_RING_SIZE);
}

/* `bytes` must be a constant. Since 6.15 the ring's lock may be given up under contention, where the
 * ring has room. In a virtual machine some kernels take a wait of one millisecond for a deadlock
 * (mended by "rqspinlock: Fix TAS fallback lock entry creation"), and a processor that is taken away
 * from the lock's holder may be gone for many. So the other ring is asked, which has a lock of its
 * own. What is urgent may go where there is any room; the rest may borrow a little of the room for
 * what is urgent, and only where its own ring is not full: that is lost and counted. `session` may
 * be NULL; it is told whether there was room all the time. */
INLINE void *reserve(struct session_state *session, __u32 urgent, __u64 bytes)
{
	if (session)
		session->no_lock = 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < RESERVE_TRIES; i++) {
		void *record = 0;
		if (urgent)
			record = RESERVE(urgents, bytes);
		else if (!GIVEN_UP)
			record = RESERVE(records, bytes);
		if (record)
			return record;
		if (urgent)
			record = RESERVE(records, bytes);
		else if (!has_room(bytes))
			return 0;
		else if (bytes <= BORROWED_BYTES && reserved_room(BORROWED_PARTS))
			record = RESERVE(urgents, bytes);
		if (record)
			return record;
		if (urgent && !has_urgent_room(bytes) && !has_room(bytes))
			return 0;
	}
	if (session)
		session->no_lock = 1;
	return 0;
}

/* A statement of which nothing is told: `reason` where there was no room for its record, which is
 * what the session was asked to reserve last. */
INLINE void count_lost(struct session_state *session, __u32 urgent, __u32 reason)
{
	if (session->no_lock)
		count_loss(urgent ? LOSS_URGENT_NO_LOCK : LOSS_NO_LOCK);
	else
		count_loss(urgent ? LOSS_URGENT_STATEMENT : reason);
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

/* Whether a portal has a name (its first member). In doubt it has one. */
INLINE int is_named(__u64 portal)
{
	__u8 first = 1;
	bpf_probe_read_user(&first, sizeof(first), (void *)read_u64(portal));
	return first != 0;
}

/* The reader looks every few milliseconds by itself: waking it for each record would cost the
 * backend more than the record. */
INLINE __u64 wakeup(void)
{
	__u64 limit = QUERY(records, BPF_RB_RING_SIZE) / 4;
	return QUERY(records, BPF_RB_AVAIL_DATA) > limit ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

INLINE void fill_head(struct record_head *head, __u32 kind, __s64 session_us)
{
	head->kind = kind;
	head->pid = bpf_get_current_pid_tgid() >> 32;
	head->at_ns = bpf_ktime_get_ns();
	head->session_us = session_us;
}

/* When the client's message arrived: what PostgreSQL calls the start of the statement. */
INLINE __s64 read_requested(struct config *config, __u64 base)
{
	return read_u64(base + config->statement_start);
}

/* A backend of a cluster that nobody asked for: say so once. */
INLINE void report_stranger(__s64 started_us)
{
	struct cluster unknown = {};
	if (INSERT(clusters, &started_us, &unknown))
		return;
	struct stranger_record *record = reserve(0, 0, sizeof(*record));
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
 * background workers and autovacuum have no Port. `running`: a statement begins, which is lost where
 * there is no room for its session. */
INLINE struct session_state *meet(struct config *config, __u64 base, __u32 running)
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
		if (running)
			count_loss(LOSS_TABLE_FULL);
		return 0;
	}
	session->session_us = read_u64(base + config->my_start_timestamp);
	session->cluster = cluster->number;
	session->base = base;
	session->walsender = read_u8(base + config->am_walsender);
	session->starting = read_u8(base + config->client_auth_in_progress);
	return session;
}

SEPARATE int announce(struct config *config, __u64 base, struct session_state *session, __u32 urgent)
{
	if (!config || !session)
		return 0;
	struct session_record *record = reserve(session, urgent, sizeof(*record));
	if (!record)
		return 0; /* the next hit tries again; lost if it ends before */
	__u64 port = read_u64(base + config->my_proc_port);
	__u64 raddr = port + config->port_raddr;
	fill_head(&record->head, RECORD_SESSION, session->session_us);
	record->naming = session->naming;
	record->cluster = session->cluster;
	record->server_pid = 0;
	bpf_probe_read_user(&record->server_pid, 4, (void *)(base + config->my_proc_pid));
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
	session->announced = session->known = 1;
	return 1;
}

INLINE struct session_state *enter(struct config *config, __u64 base)
{
	struct session_state *session = find_session();
	if (!session)
		session = meet(config, base, 1);
	if (!session)
		return 0;
	if (!session->announced)
		announce(config, base, session, 0);
	return session;
}

#endif
