/* What the kernel program and user space exchange. agent/probes/layout.py mirrors every struct, and
 * tests/kernel/test_layout.py compiles this file to prove that both agree. Fixed-width types only,
 * no implicit padding. */
#ifndef PGWARDEN_POSTGRES_BPF_H
#define PGWARDEN_POSTGRES_BPF_H

#define NAME_BYTES 64 /* NAMEDATALEN: names in PostgreSQL are shorter than this */

/* Text is copied straight into the ring buffer. A per-CPU scratch buffer would be unsafe: uprobe
 * programs can be preempted. So the size is a constant and the classes are few. */
#define TEXT_SMALL 512
#define TEXT_MEDIUM 8192
#define TEXT_LARGE 131072
#define TEXT_HUGE 1048576

#define RESPONSE_SMALL 192
#define RESPONSE_HEAD 1024
#define RESPONSE_TAIL 512
#define RESPONSE_MEDIUM 1536 /* head and tail */
#define RESPONSE_LARGE 8192
#define CARRY_BYTES 256
#define READY_BYTES 6 /* one ReadyForQuery */
#define SEND_BUFFER_BYTES 8192 /* PqSendBufferSize: shorter writes were flushed on purpose */
#define FULL_COPIES 64 /* full buffers copied for one round trip of several statements */

enum record_kind {
	RECORD_SESSION = 1,
	RECORD_STATEMENT = 2,
	RECORD_FAILED = 3,
	RECORD_RESPONSE = 4,
	RECORD_APPLICATION = 5,
	RECORD_EXIT = 6,
	RECORD_STRANGER = 7,
};

enum protocol {
	PROTOCOL_QUERY = 0,
	PROTOCOL_FASTPATH = 1,
	PROTOCOL_REPLICATION = 2,
};

enum text_state {
	TEXT_WHOLE = 0,
	TEXT_CUT = 1,
	TEXT_UNREADABLE = 2,
	TEXT_SAME = 3, /* as the last record of depth 0: the next statement of one string */
};

/* Index into the map "losses". */
enum loss {
	LOSS_SESSION = 0,
	LOSS_STATEMENT = 1,
	LOSS_FAILED = 2,
	LOSS_RESPONSE = 3,
	LOSS_APPLICATION = 4,
	LOSS_EXIT = 5,
	LOSS_STRANGER = 6,
	LOSS_TABLE_FULL = 7, /* more sessions than the map holds */
	LOSS_SIGNAL = 8,     /* a hold that the kernel refused */
	LOSS_TEXT_CUT = 9,   /* text cut because the ring had no room for its size class */
	LOSSES = 10,
};

/* Times named *_us count microseconds since 2000-01-01 as PostgreSQL does; at_ns is the kernel's
 * monotonic clock. */
struct record_head {
	__u32 kind;
	__u32 pid;
	__u64 at_ns;
	__s64 session_us; /* MyStartTimestamp */
};

struct session_record {
	struct record_head head;
	__u32 cluster;
	__u16 family;
	__u16 port_be;
	__u8 address[16];
	char user[NAME_BYTES];
	char database[NAME_BYTES];
	char application[NAME_BYTES];
};

struct statement_record {
	struct record_head head;
	__s64 requested_us;
	__u32 text_bytes; /* copied, without the final NUL */
	__u32 full_bytes;
	__u8 protocol;
	__u8 depth;
	__u8 held;
	__u8 text_state;
	__u32 padding;
	/* text follows */
};

struct response_record {
	struct record_head head;
	__u64 bytes_sent;
	__s64 requested_us;
	__u32 write_bytes; /* length of this write */
	__u16 carry_bytes; /* end of the previous write, when that was not copied */
	__u16 head_bytes;
	__u16 tail_bytes; /* 0 when head holds all of it */
	__u16 write;      /* counts the writes of one round trip */
	__u8 aligned;     /* the first byte begins a message */
	__u8 ready;
	__u16 padding;
	/* carry, head and tail follow, each at the fixed place of its size class */
};

struct application_record {
	struct record_head head;
	char application[NAME_BYTES];
};

struct stranger_record {
	struct record_head head; /* session_us is 0 */
	__s64 started_us;        /* PgStartTime: the key of the map "clusters" */
};

/* Where this server binary keeps things: virtual addresses and offsets. */
struct config {
	__u64 entry_portal_run;
	__u64 entry_secure_write;
	__u64 entry_report_appname;
	__u64 entry_fastpath;
	__u64 entry_replication;
	__u64 my_proc_port;
	__u64 my_be_entry; /* 0: not exported (12 and 13) */
	__u64 my_start_timestamp;
	__u64 pg_start_time;
	__u64 application_name;
	__u64 debug_query_string;
	__u64 am_walsender;
	__u64 client_auth_in_progress;
	__u32 port_raddr;
	__u32 port_database_name;
	__u32 port_user_name;
	__u32 portal_source_text;
	__u32 status_activity_start;
	__u32 padding;
};

/* The judge's pulse: nothing is held unless it is fresh. */
struct judge {
	__u64 beat_ns;
	__u64 window_ns;
	__u32 hold;
	__u32 padding;
};

struct cluster {
	__u32 number;
	__u32 watched; /* 0: met, reported as a stranger, not ours */
};

struct session_state {
	__s64 session_us;
	__s64 requested_us; /* of the last statement of depth 0 */
	__u64 text;         /* its address */
	__u64 outer_stack;
	__u64 bytes;
	__u64 write_start;
	__u64 write_end;
	__u64 status; /* MyBEEntry */
	__u64 held_at_ns; /* at_ns of the last hold: its name */
	__u32 cluster;
	__u32 starts; /* since the last ReadyForQuery */
	__u16 writes;
	__u16 full_copies;
	__u16 carry_bytes;
	__u8 announced;
	__u8 starting;
	__u8 walsender;
	__u8 aligned;
	__u16 padding;
	__u32 padding2;
	__u8 carry[CARRY_BYTES];
};

#endif
