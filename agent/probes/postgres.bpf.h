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

/* The text of one statement waits in its session's state until the statement has been answered, so
 * that one record tells all of it. Longer texts are sent at once, in the classes above. */
#define TEXT_KEPT 2048 /* with the final NUL */
#define EXECUTION_SMALL 128
#define EXECUTION_MEDIUM 512
#define TAIL_BYTES 48 /* the longest CommandComplete and a ReadyForQuery */
#define LEVELS 8 /* of nested statements; what lies deeper is told as part of the last */
#define DURATION_CLASSES 24 /* powers of two of microseconds */

/* Bind parameters: how many are copied, and how much of each. */
#define PARAMETERS_FEW 4
#define PARAMETERS_MANY 32
#define PARAMETER_BYTES 116
#define PARAMETER_TYPES 8192 /* of the types that are built in every number is smaller */

/* A call of a function that is probed itself: how much of its texts is copied. */
#define CALL_BYTES 256
#define CALL_UNKNOWN ~0U /* as length: it is NULL, too long, compressed or elsewhere */

#define RESPONSE_SMALL 192
#define RESPONSE_HEAD 1024
#define RESPONSE_TAIL 512
#define RESPONSE_MEDIUM 1536 /* head and tail */
#define RESPONSE_LARGE 8192
#define CARRY_BYTES 256
#define READY_BYTES 6 /* one ReadyForQuery */
#define SEND_BUFFER_BYTES 8192 /* PqSendBufferSize: shorter writes were flushed on purpose */
#define WINDOW_BYTES 4096 /* of an answer that is followed: so much is looked at together */
#define UNKNOWN ~0U

enum record_kind {
	RECORD_SESSION = 1,
	RECORD_STATEMENT = 2,
	RECORD_FAILED = 3,
	RECORD_RESPONSE = 4,
	RECORD_APPLICATION = 5,
	RECORD_EXIT = 6,
	RECORD_STRANGER = 7,
	RECORD_EXECUTION = 8,
	RECORD_NESTED = 9, /* a statement_record */
	RECORD_PARAMETERS = 10,
	RECORD_CALL = 11, /* a statement_record, behind it two texts of CALL_BYTES each */
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
	TEXT_KNOWN = 4, /* the text that user space gave the number text_id */
};
#define TEXT_URGENT 128 /* beside the state: the record has reserved room */

/* Whether a response brings an error, and the text that PostgreSQL is at. */
enum failed_text {
	FAILED_NONE = 0,
	FAILED_TEXT_TOLD = 1, /* in the record before it */
	FAILED_TEXT_LOST = 2,
	FAILED_TEXT_SAME = 3, /* of the message that the last statement came with */
	FAILED_NO_TEXT = 4,   /* it is over: at the commit, or for what came behind it */
	FAILED_LATER = 5,     /* nor of that message: another one has come since */
};

/* Index into the map "losses". */
enum loss {
	LOSS_SESSION = 0, /* one that ended before there was room to tell of it */
	LOSS_STATEMENT = 1,
	LOSS_FAILED = 2, /* the text of a statement that failed before it began */
	LOSS_RESPONSE = 3, /* how statements ended that are told or counted themselves */
	LOSS_APPLICATION = 4,
	LOSS_EXIT = 5,
	LOSS_STRANGER = 6,
	LOSS_TABLE_FULL = 7, /* a statement: there are more sessions than the map holds */
	LOSS_SIGNAL = 8,     /* a hold that the kernel refused */
	LOSS_TEXT_CUT = 9,   /* text cut because the ring had no room for its size class */
	LOSS_EXECUTION = 10, /* a statement with its answer */
	LOSS_URGENT_STATEMENT = 11, /* as LOSS_STATEMENT, of the records with reserved room */
	LOSS_URGENT_RESPONSE = 12,
	LOSS_PARAMETERS = 13,
	LOSS_UNHELD = 14, /* a statement that had to be judged, while the judge gave no sign of life */
	LOSS_NO_LOCK = 15, /* a statement for whose record there was room, but not the ring's lock */
	LOSS_URGENT_NO_LOCK = 16,
	LOSSES = 17,
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
	__u32 naming;
	__u32 cluster;
	__u32 server_pid; /* MyProcPid: another than head.pid in a pid namespace of its own */
	__u16 family;
	__u16 port_be;
	__u8 address[16];
	char user[NAME_BYTES];
	char database[NAME_BYTES];
	char application[NAME_BYTES];
};

/* Whether a plan lets functions run past their probes: JIT may put their code into that of an
 * expression, and parallel workers are never held. It is held in any case, and user space tells the
 * plan not to. */
enum evasion {
	EVASION_NONE = 0,
	EVASION_JUDGED = 1, /* and it is judged as well */
	EVASION_ALONE = 2,  /* it is part of what PortalRun judges */
};

/* What a held statement belongs to that was held before it; see layout.py, Part. */
enum part {
	PART_NONE = 0,
	PART_CLIENTS = 1,
	PART_COMMANDS = 2,
};

/* A text under the instance's secret key: nobody outside can make two that collide. Zero: no key,
 * the text is too long. */
struct text_key {
	__u64 high;
	__u64 low;
};

struct statement_record {
	struct record_head head;
	__s64 requested_us;
	struct text_key text_key;
	struct text_key skeleton; /* of the text with its numbers made equal; only where held */
	__u64 planned;            /* where its PlannedStmt lies, or a List of them; only where held */
	__u64 touched;            /* see plans.bpf.h, claims.bpf.h; only where statements are held */
	__u32 text_bytes;         /* copied, without the final NUL */
	__u32 full_bytes;
	__u32 text_id;
	__u32 row_limit; /* of this execution, 0: all; of a call the function's number */
	__u32 naming;    /* session_state.naming at that moment */
	__u8 protocol;
	__u8 depth;
	__u8 held;
	__u8 text_state; /* enum text_state, and TEXT_URGENT */
	__u8 planned_list;
	__u8 quiet; /* told only if it is refused */
	__u8 evades; /* enum evasion */
	__u8 part;    /* enum part */
	__u32 start;  /* its number in the round trip, 0: it is not one of those */
	__u32 round;  /* session_state.round */
	__u32 continued; /* its portal has run before */
	/* text follows */
};

/* One statement and its answer, alone in its round trip and without an error. */
struct execution_record {
	struct record_head head; /* at_ns: when it was answered */
	__u64 started_ns;
	__s64 requested_us;
	__u64 bytes_sent;
	struct text_key text_key;
	__u32 text_bytes;
	__u32 text_id; /* 0: the text follows */
	__u32 row_limit;
	__u8 tail_bytes;
	__u8 before; /* transaction status before it, as in ReadyForQuery; 0 unknown */
	__u8 urgent;
	__u8 continued;
	__u8 tail[TAIL_BYTES]; /* the answer's last bytes; of a shorter one the last tail_bytes */
	/* text follows */
};

struct response_record {
	struct record_head head;
	__u64 bytes_sent;
	__s64 requested_us;
	__u32 starts;	   /* of statements since the round trip began, those lost too */
	__u32 round; /* counts the round trips of the session */
	__u32 write_bytes; /* length of this write */
	__u32 begins; /* where its first message begins: write_bytes or less, UNKNOWN */
	__u32 ended; /* how many starts have ended without an error, with this write; UNKNOWN */
	__u16 carry_bytes; /* end of the previous write, when that was not copied */
	__u16 head_bytes;
	__u16 tail_bytes; /* 0 when head holds all of it */
	__u16 write;      /* counts the writes of one round trip */
	__u8 walsender;
	__u8 ready;
	__u8 before; /* transaction status before the round trip */
	__u8 failed; /* enum failed_text */
	/* carry, head and tail follow, each at the fixed place of its size class */
};

struct application_record {
	struct record_head head;
	__u32 naming;
	__u32 padding;
	char application[NAME_BYTES];
};

enum parameter_state {
	PARAMETER_VALUE = 0,
	PARAMETER_NULL = 1,
	PARAMETER_UNKNOWN = 2,    /* its type is not built in */
	PARAMETER_COMPRESSED = 3,
	PARAMETER_ELSEWHERE = 4,  /* in a TOAST table, or an object in memory */
	PARAMETER_UNREADABLE = 5,
};

/* How values of a type lie in memory; another number is their length, behind a pointer. */
enum type_kind {
	TYPE_UNKNOWN = 0,
	TYPE_BY_VALUE = 1,
	TYPE_VARLENA = 2,
};

struct parameter {
	__u32 type;
	__u32 bytes; /* of all of it */
	__u8 state;
	__u8 copied;
	__u16 padding;
	__u8 data[PARAMETER_BYTES];
};

/* What was bound to the statement whose record follows. */
struct parameters_record {
	struct record_head head;
	__s64 requested_us;
	__u32 count; /* of all; PARAMETERS_MANY of them follow at most */
	__u32 depth;
	/* struct parameter, count times, follow */
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
	__u64 entry_executor_start;
	__u64 entry_process_utility;
	__u64 entry_portal_fetch;
	__u64 my_proc_port;
	__u64 statement_start; /* stmtStartTimestamp */
	__u64 my_start_timestamp;
	__u64 my_proc_pid;
	__u64 pg_start_time;
	__u64 application_name;
	__u64 debug_query_string;
	__u64 am_walsender;
	__u64 client_auth_in_progress;
	__u64 active_portal;
	__u64 error_context; /* error_context_stack */
	__u64 hash_key_high; /* random for each instance */
	__u64 hash_key_low;
	__u32 port_raddr;
	__u32 port_database_name;
	__u32 port_user_name;
	__u32 portal_source_text;
	__u32 portal_statements;   /* Portal.stmts */
	__u32 list_cells;          /* where a List leads to its first cell */
	__u32 planned_utility;     /* PlannedStmt.utilityStmt, behind it the place in the text */
	__u32 command_utility;     /* CMD_UTILITY */
	__u32 planned_relations;   /* PlannedStmt.relationOids */
	__u32 planned_tree;        /* PlannedStmt.planTree */
	__u32 planned_results;     /* PlannedStmt.resultRelations */
	__u32 changed_parts;       /* ModifyTable.plans, 0 where there is one plan, to the left */
	__u32 calls;               /* some functions are probed themselves */
	__u32 aggregate;           /* enum aggregation */
	__u32 nested;              /* enum nested: what is told of what runs inside statements */
	__u32 inside;              /* the probes for it are attached */
	__u32 context_third;       /* ProcessUtility's context is its third argument, not the fourth */
	__u32 portal_parameters;   /* Portal.portalParams */
	__u32 list_parameters;     /* ParamListInfo.numParams, 8 bytes behind it the first */
	__u32 parameters;          /* whether they are asked for */
	__u32 portal_at_start;     /* Portal.atStart */
	__u32 padding;
	__u8 byte_classes[256];    /* of a text: BYTE_DIGIT, BYTE_JOINS */
	__u8 type_kinds[PARAMETER_TYPES]; /* by type number: enum type_kind */
};

#define BYTE_DIGIT 1
#define BYTE_JOINS 2 /* after it a digit is no number of its own: t1, $1, 1.5, "1", '1' */

enum nested {
	NESTED_NONE = 0,
	NESTED_ALL = 1,
	NESTED_COMMANDS = 2, /* those that outlive the statement */
};

enum aggregation {
	AGGREGATE_NEVER = 0,
	AGGREGATE_OVERLOAD = 1, /* while the reader is behind */
	AGGREGATE_ALWAYS = 2,
};

/* A function that is probed itself, by its distance from the program's start. */
struct function {
	__u32 number; /* user space knows its name by it */
	__u32 text;   /* which argument is its first text; NO_TEXT: none */
};

#define NO_TEXT 255

/* The judge's pulse: nothing is held unless it is fresh. */
struct judge {
	__u64 beat_ns;
	__u64 window_ns;
	__u32 hold;
	__u32 pressed; /* the reader cannot keep up: aggregate what is known */
	__u32 epoch;   /* of aggregates */
	__u32 padding;
};

/* A text that user space knows by number. */
struct known_text {
	__u32 id;
	__u32 urgent; /* its records have reserved room */
};

/* What rules can see of a session, as a number. Void once the session was named anew. */
struct session_class {
	__s64 session_us;
	__u32 class;
	__u32 naming;
};

/* Its presence says: judged, and no rule stops it. */
struct allowance {
	struct text_key text;
	__u64 touched;
	__u32 class;
	__u32 skeleton; /* `text` is a skeleton's */
};

struct aggregate_key {
	__s64 session_us;
	__u32 pid;
	__u32 text_id;
	__u32 epoch;
	__u32 naming;
};

/* Executions of a known text by one backend that were not told one by one. */
struct aggregate {
	__u64 count;
	__u64 rows;
	__u64 bytes;
	__u64 duration_ns;
	__u64 first_ns;
	__u64 last_ns;
	__u32 durations[DURATION_CLASSES];
};

struct cluster {
	__u32 number;
	__u32 watched; /* 0: met, reported as a stranger, not ours */
};

/* The state of a SipHash. */
struct sip {
	__u64 v0;
	__u64 v1;
	__u64 v2;
	__u64 v3;
};

/* What a hit knows of the statement that starts. It lies in the session's state, whose contents the
 * verifier takes for unknown: on the stack each of its values would double what it has to walk. */
struct occasion {
	__s64 requested_us;
	__u64 portal;
	__u64 text;
	__u64 planned;
	__u64 touched;
	__u64 cell; /* plans.bpf.h: the next one, and how many there are */
	__u64 unreadable;
	__u64 claim; /* claims.bpf.h */
	struct sip mix;
	struct text_key skeleton;
	__u32 kind;
	__u32 row_limit;
	__u32 class; /* of the session, 0: none that holds */
	__u32 limit; /* of the text: a part of a longer one, 0: up to its end */
	__u32 full_bytes; /* of a text that is cut */
	__u32 cells;
	__u32 start; /* where it stands in a longer text */
	__u32 more_padding;
	__u8 protocol;
	__u8 depth;
	__u8 text_state;
	__u8 urgent;
	__u8 hold;
	__u8 kept; /* the text lies in the session's state */
	__u8 told; /* what was pending before it has been told */
	__u8 planned_list;
	__u8 unseen; /* `touched` is not known */
	__u8 judged; /* somebody is there who judges what is held */
	__u8 utility;
	__u8 quiet; /* told only if it is refused */
	__u8 evades;
	__u8 part;
	__u8 lasting; /* it changes what outlives it */
	__u8 continued; /* its portal has run before */
};

/* A nested statement that runs, and may have others inside it. */
struct level {
	__u64 frame; /* the innermost error context when it started */
	__u64 text;
	__u64 stack;
	__u32 start; /* in its text */
	__u32 end;   /* of a utility statement, 0: a query */
	__u32 fetched; /* a utility statement behind a cursor: `frame` is its function's */
	__u32 padding;
};

/* How far a fastpath call of this round trip is. */
enum calling {
	CALL_NONE = 0,
	CALL_ASKED = 1,
	CALL_ANSWERED = 2, /* the beginning of its result has been written */
};

/* The answer's bytes, and where it is known to be: `aligned`: it begins with a message. It lies in the
 * session's state as an occasion does. */
struct writing {
	__u64 start;
	__u64 bytes;
	__u64 result; /* bytes of a fastpath call's result at its beginning */
	__s64 requested_us; /* of the statement that it is about, as far as is known */
	__u8 ready;
	__u8 aligned;
	__u8 flushed; /* on purpose, not because the buffer was full */
	__u8 failed; /* enum failed_text */
	__u8 tail_read; /* session_state.tail is its end */
	__u8 padding[3];
};

/* The messages of a round trip's answer, see messages.bpf.h. */
struct stream {
	__u64 left;	/* of a message that goes on in the next write, in bytes */
	__u64 behind;	/* from the window's beginning to the end of the write */
	__u64 moved;	/* from the window's beginning to the next message */
	__u32 readable; /* in the window */
	__u32 begins;	/* where the first message of this write begins, or UNKNOWN */
	__u32 endings;	/* of statements, in this round trip */
	__u8 header_bytes; /* in `header` */
	__u8 in_step;	 /* it is known where messages begin */
	__u8 counted;	 /* since the round trip began */
	__u8 cut;	 /* tag of a message that goes on in the next write and ends a statement */
	__u8 telling;	 /* in this write lies such a message, or a part of one */
	__u8 failed;	 /* an error ends in this write */
	__u8 padding[6];
	__u8 header[8]; /* of a message whose header goes on in the next write */
	__u8 window[WINDOW_BYTES + 8];
};

/* What a walsender was asked for. */
enum asking {
	ASKED_NOTHING = 0, /* or a command, which waits */
	ASKED_LONG = 1,    /* its text was too long to wait, and has been told */
	ASKED_SQL = 2,
};

struct session_state {
	__s64 session_us;
	__s64 requested_us; /* of the last statement of depth 0 */
	__u64 text;         /* its address */
	__u64 outer_stack;
	__u64 bytes;
	__u64 held_at_ns; /* at_ns of the last hold: its name */
	__u64 started_ns;  /* of the statement that waits for its answer */
	__u64 base; /* where its program lies in memory */
	__u64 result_left; /* of a fastpath call's result: bytes that have not been written */
	__u64 claim; /* claims.bpf.h: of the message that came then, with a text at this address */
	__s64 claim_us;
	__u64 claim_text;
	struct text_key text_key;
	__u32 cluster;
	__u32 starts; /* since the last ReadyForQuery */
	__u32 kept_bytes; /* of `kept`, without the NUL */
	__u32 text_id;    /* of the text in `kept`, 0: not known */
	__u32 row_limit;
	__u32 naming; /* counts changes of application_name */
	__u32 round;  /* counts round trips */
	__u32 claim_kind;
	__u32 more_padding;
	__u16 writes;
	__u16 carry_bytes;
	__u8 announced;
	__u8 starting;
	__u8 walsender;
	__u8 aligned;
	__u8 pending; /* the statement in `kept` has not been told yet */
	__u8 flushed; /* a write of this round trip was flushed on purpose */
	__u8 urgent;  /* what this round trip tells has reserved room */
	__u8 transaction; /* status in the last ReadyForQuery */
	__u8 protocol;    /* of the statement that waits */
	__u8 level;       /* how many of `levels` there are */
	__u8 known; /* user space has met the session */
	__u8 exempt; /* never held: it serves those who judge */
	__u8 calling; /* enum calling */
	__u8 asked; /* enum asking */
	__u8 no_lock; /* what the last record was not to be had for, not for want of room */
	__u8 continued; /* as row_limit */
	struct occasion occasion;
	struct level levels[LEVELS];
	__u8 tail[TAIL_BYTES];
	__u8 carry[CARRY_BYTES];
	__u8 kept[TEXT_KEPT];
	struct writing writing;
	struct stream stream;
};

#endif
