/* One source for two loaders. The maps' names are the first argument everywhere. */
#ifndef PGWARDEN_COMPAT_BPF_H
#define PGWARDEN_COMPAT_BPF_H

#ifdef PGWARDEN_BCC

#include <uapi/linux/ptrace.h>

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

/* LOOKUP, INSERT, DELETE, RESERVE, SUBMIT and DISCARD are not defined here: bcc rewrites calls
 * like records.ringbuf_reserve(size), but not inside a macro. bcc_loader.py puts them in as text. */

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

#endif
#endif
