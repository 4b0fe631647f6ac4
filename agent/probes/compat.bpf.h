/* One source for two loaders. The maps' names are the first argument everywhere. */
#ifndef PGWARDEN_COMPAT_BPF_H
#define PGWARDEN_COMPAT_BPF_H

#ifdef PGWARDEN_BCC

#include <uapi/linux/ptrace.h>

/* Helpers by names that are not bcc's: for each call of one that it knows, it asks whether the
 * kernel has it, and makes a table of all the kernel's symbols anew (two thirds of the time that it
 * takes to compile). A kernel with ring buffers (5.8) has them (5.5). */
static int (*read_user)(void *to, int bytes, const void *from) = (void *)BPF_FUNC_probe_read_user;
static int (*read_user_str)(void *to, int bytes, const void *from) =
	(void *)BPF_FUNC_probe_read_user_str;
#define bpf_probe_read_user read_user
#define bpf_probe_read_user_str read_user_str

#define PROBE(section)
#define DECLARE_RING(name, bytes) BPF_RINGBUF_OUTPUT(name, (bytes) / 4096)
#define DECLARE_ARRAY(name, value) BPF_ARRAY(name, value, 1)
#define DECLARE_PERCPU_ARRAY(name, value, entries) BPF_PERCPU_ARRAY(name, value, entries)
#define DECLARE_HASH(name, key, value, entries) BPF_HASH(name, key, value, entries)
#define DECLARE_SPARSE_HASH(name, key, value, entries)                                             \
	BPF_F_TABLE("hash", key, value, name, entries, BPF_F_NO_PREALLOC)

/* A function that the verifier walks once, not once for each way that leads to it. bcc inlines
 * everything, so the loops are shorter there. */
#define SEPARATE static __always_inline
#define HASHED_BYTES 512
#define SKELETON_BYTES 128
#define STOP_EARLY(condition) 0 /* each way out of a loop is one more to walk */
#define RELATIONS_AT_ONCE 4
#define RELATION_LOTS 1
#define PLANS_SEEN 1
#define LENGTH_PARTS 4 /* lengths are counted up to 33 MB */
#define MESSAGES_AT_ONCE 512 /* of 8 bytes on average; shorter ones are not followed */
#define ROWS_AT_ONCE 0
/* Parts of loops would be inlined as well: the whole is one. */
#define WORDS_IN_PART (HASHED_BYTES / 8)
#define BYTES_IN_PART SKELETON_BYTES
#define CLAIM_CHUNKS 18 /* of 30 bytes: comments are looked for in so much of a text */
#define CLAIM_CHUNKS_IN_PART CLAIM_CHUNKS
#define MESSAGES_IN_PART MESSAGES_AT_ONCE
#define TAIL_AT_ONCE 0 /* what depends on it would be walked twice */

/* LOOKUP, INSERT, DELETE, RESERVE, SUBMIT, DISCARD and QUERY are not defined here: bcc rewrites calls
 * like records.ringbuf_reserve(size), but not inside a macro. bcc_loader.py puts them in as text.
 * bcc 0.26 knows no way to ask how full a ring is, but one of its calls has the ring and the number
 * that the question takes: this stands for what it makes of it. */
static __u64 (*query_ring)(void *ring, __u64 what) = (void *)BPF_FUNC_ringbuf_query;
static char *const nothing = 0; /* bcc looks at its type */
#define bpf_ringbuf_output(ring, nothing, bytes, what) query_ring(ring, what)

#else

#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define PROBE(section) SEC(section)
#define SEPARATE __attribute__((noinline))
#define HASHED_BYTES TEXT_KEPT
#define SKELETON_BYTES 512 /* longer texts are judged one by one */
#define STOP_EARLY(condition) (condition)
#define RELATIONS_AT_ONCE 16
#define RELATION_LOTS 256  /* 4,096; what touches more is held each time */
#define PLANS_SEEN 8	   /* rules of the rewriter make several of one statement */
#define MESSAGES_AT_ONCE WINDOW_MESSAGES /* all that a window may hold */
#define ROWS_AT_ONCE WINDOW_MESSAGES
/* So much of a loop is a function of its own, which is walked once: what it costs to load the probes
 * is what the verifier walks. */
#define WORDS_IN_PART 32
#define BYTES_IN_PART 64
#define CLAIM_CHUNKS 70 /* of 30 bytes */
#define CLAIM_CHUNKS_IN_PART 10
#define MESSAGES_IN_PART 32
#define TAIL_AT_ONCE 1
#define LENGTH_PARTS 128   /* lengths are counted up to 1 GiB, the longest there are */
#define DECLARE_RING(name, bytes)                                                                  \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                                                \
		__uint(max_entries, bytes);                                                        \
	} name SEC(".maps")
#define DECLARE_MAP(name, kind, key_type, value_type, entries)                                     \
	struct {                                                                                   \
		__uint(type, kind);                                                                \
		__uint(max_entries, entries);                                                      \
		__type(key, key_type);                                                             \
		__type(value, value_type);                                                         \
	} name SEC(".maps")
#define DECLARE_ARRAY(name, value) DECLARE_MAP(name, BPF_MAP_TYPE_ARRAY, __u32, value, 1)
#define DECLARE_PERCPU_ARRAY(name, value, entries)                                                 \
	DECLARE_MAP(name, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, value, entries)
#define DECLARE_HASH(name, key, value, entries)                                                    \
	DECLARE_MAP(name, BPF_MAP_TYPE_HASH, key, value, entries)
#define DECLARE_SPARSE_HASH(name, key_type, value_type, entries)                                   \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_HASH);                                                   \
		__uint(max_entries, entries);                                                      \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                              \
		__type(key, key_type);                                                             \
		__type(value, value_type);                                                         \
	} name SEC(".maps")
#define LOOKUP(map, key) bpf_map_lookup_elem(&map, key)
/* SPARSE: memory for what is there, not for all that might be. */
#define INSERT(map, key, value) bpf_map_update_elem(&map, key, value, BPF_NOEXIST)
#define DELETE(map, key) bpf_map_delete_elem(&map, key)
#define RESERVE(map, bytes) bpf_ringbuf_reserve(&map, bytes, 0)
#define SUBMIT(map, record, flags) bpf_ringbuf_submit(record, flags)
#define DISCARD(map, record, flags) bpf_ringbuf_discard(record, flags)
#define QUERY(map, what) bpf_ringbuf_query(&map, what)

#endif
#endif
