/* Bind parameters, only where the configuration asks for them: one record right before the record of
 * the statement that they were bound to.
 *
 * A datum is followed only where its type is built in and known to be a pointer: a number taken for
 * one would copy the server's own memory.
 */
#ifndef PGWARDEN_PARAMETERS_BPF_H
#define PGWARDEN_PARAMETERS_BPF_H

#include "texts.bpf.h"

/* ParamExternData */
struct bound_value {
	__u64 value;
	__u8 is_null;
	__u8 unused;
	__u16 flags;
	__u32 type;
};

INLINE int copy_value(struct parameter *to, __u64 from, __u32 bytes)
{
	to->bytes = bytes;
	if (bytes > PARAMETER_BYTES)
		bytes = PARAMETER_BYTES;
	to->copied = bytes;
	return bpf_probe_read_user(to->data, bytes, (void *)from) ? PARAMETER_UNREADABLE
								   : PARAMETER_VALUE;
}

/* A varlena: one byte of length and form, or four. What lies elsewhere or is compressed would have
 * to be fetched or unpacked; a client's own values never are. */
INLINE int copy_varlena(struct parameter *to, __u64 from)
{
	__u32 head = read_u8(from);
	if (head == 1)
		return PARAMETER_ELSEWHERE;
	if (head & 1)
		return copy_value(to, from + 1, (head >> 1) - 1);
	if (head & 2)
		return PARAMETER_COMPRESSED;
	if (bpf_probe_read_user(&head, sizeof(head), (void *)from) || head >> 2 < sizeof(head))
		return PARAMETER_UNREADABLE;
	return copy_value(to, from + sizeof(head), (head >> 2) - sizeof(head));
}

INLINE int copy_parameter(struct config *config, struct parameter *to, __u64 from)
{
	struct bound_value bound = {};
	to->type = to->bytes = 0;
	to->copied = to->padding = 0;
	if (bpf_probe_read_user(&bound, sizeof(bound), (void *)from))
		return PARAMETER_UNREADABLE;
	to->type = bound.type;
	if (bound.is_null)
		return PARAMETER_NULL;
	if (bound.type >= PARAMETER_TYPES)
		return PARAMETER_UNKNOWN;
	__u32 kind = config->type_kinds[bound.type & (PARAMETER_TYPES - 1)];
	if (kind == TYPE_UNKNOWN)
		return PARAMETER_UNKNOWN;
	if (kind == TYPE_BY_VALUE)
		return copy_value(to, from, sizeof(bound.value));
	if (kind == TYPE_VARLENA)
		return copy_varlena(to, bound.value);
	return copy_value(to, bound.value, kind); /* its length */
}

/* `room` must be a constant. */
INLINE int send_some(struct config *config, struct session_state *session, __u64 list, __u32 count,
		     __u32 room)
{
	struct parameters_record *record =
		reserve(session, session->occasion.urgent,
			sizeof(*record) + room * sizeof(struct parameter));
	if (!record) {
		count_loss(LOSS_PARAMETERS);
		return 0;
	}
	struct parameter *slots = (struct parameter *)(record + 1);
	__u64 first = list + config->list_parameters + 2 * sizeof(__u32);
	fill_head(&record->head, RECORD_PARAMETERS, session->session_us);
	record->requested_us = session->occasion.requested_us;
	record->count = count;
	record->depth = session->occasion.depth;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < room; i++) {
		if (i >= count)
			break;
		HIDE(i);
		slots[i].state =
			copy_parameter(config, &slots[i], first + i * sizeof(struct bound_value));
	}
	SUBMIT(records, record, wakeup());
	return 1;
}

SEPARATE int send_parameters(struct config *config, struct session_state *session)
{
	if (!config || !session)
		return 0;
	__u64 list = read_u64(session->occasion.portal + config->portal_parameters);
	__u32 count = 0;
	if (!list || read_u64(list)) /* paramFetch: values that are made when asked for */
		return 0;
	bpf_probe_read_user(&count, sizeof(count), (void *)(list + config->list_parameters));
	if (!count)
		return 0;
	if (count <= PARAMETERS_FEW)
		return send_some(config, session, list, count, PARAMETERS_FEW);
	return send_some(config, session, list, count, PARAMETERS_MANY);
}

#endif
