/* One source for two loaders: bcc rewrites method calls on maps, libbpf wants plain helpers. */
#ifndef PGWARDEN_COMPAT_BPF_H
#define PGWARDEN_COMPAT_BPF_H

#ifdef PGWARDEN_BCC

#include <uapi/linux/ptrace.h>

#define PROBE(section)
#define DECLARE_RING(name, bytes) BPF_RINGBUF_OUTPUT(name, (bytes) / 4096)
#define DECLARE_ARRAY(name, value) BPF_ARRAY(name, value, 1)
#define DECLARE_PERCPU_ARRAY(name, value, entries) BPF_PERCPU_ARRAY(name, value, entries)
#define DECLARE_HASH(name, key, value, entries) BPF_HASH(name, key, value, entries)
#define LOOKUP(map, key) map.lookup(key)
#define INSERT(map, key, value) map.insert(key, value)
#define DELETE(map, key) map.delete(key)
#define RESERVE(map, bytes) map.ringbuf_reserve(bytes)
#define SUBMIT(map, record, flags) map.ringbuf_submit(record, flags)
#define DISCARD(map, record) map.ringbuf_discard(record, BPF_RB_NO_WAKEUP)
#define WAITING_BYTES(map) map.ringbuf_query(BPF_RB_AVAIL_DATA)
#define RING_SIZE(map) map.ringbuf_query(BPF_RB_RING_SIZE)

#else

#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define PROBE(section) SEC(section)
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
#define LOOKUP(map, key) bpf_map_lookup_elem(&map, key)
#define INSERT(map, key, value) bpf_map_update_elem(&map, key, value, BPF_NOEXIST)
#define DELETE(map, key) bpf_map_delete_elem(&map, key)
#define RESERVE(map, bytes) bpf_ringbuf_reserve(&map, bytes, 0)
#define SUBMIT(map, record, flags) bpf_ringbuf_submit(record, flags)
#define DISCARD(map, record) bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP)
#define WAITING_BYTES(map) bpf_ringbuf_query(&map, BPF_RB_AVAIL_DATA)
#define RING_SIZE(map) bpf_ringbuf_query(&map, BPF_RB_RING_SIZE)

#endif
#endif
